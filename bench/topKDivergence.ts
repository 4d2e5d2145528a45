import type { DivergenceKind } from '../lib/ops/divergence.js'
import { topKDivergence as op, type TopKTeacher } from '../lib/ops/topKDivergence.js'
import { Random } from '../lib/random.js'
import type { Device } from '../lib/tensor/device.js'
import { gradOf, Tape } from '../lib/tensor/tape.js'
import type { FloatDType } from '../lib/tensor/tensor.js'
import type { Bench, BenchContext } from './support/bench.js'
import { randomTensor } from './support/data.js'
import { contender } from './support/measure.js'
import type { Row } from './support/table.js'

interface Sizes {
  tokens: number
  hidden: number
  vocab: number
  k: number
}

const SIZES: Sizes = { tokens: 256, hidden: 896, vocab: 151_936, k: 64 }
const TINY: Sizes = { tokens: 6, hidden: 16, vocab: 99, k: 5 }

interface Case {
  kind: DivergenceKind
  dtype: FloatDType
  /** With the gradients of hidden states and head. */
  backward: boolean
}

const CASES: readonly Case[] = [
  { kind: 'forwardKL', dtype: 'bfloat16', backward: true },
  { kind: 'reverseKL', dtype: 'bfloat16', backward: true },
  { kind: 'jensenShannon', dtype: 'bfloat16', backward: true },
  { kind: 'totalVariation', dtype: 'bfloat16', backward: true },
  { kind: 'forwardKL', dtype: 'bfloat16', backward: false },
  { kind: 'forwardKL', dtype: 'float32', backward: true },
]

/** Distillation from a stored signal at the sizes of Qwen2.5-0.5B: the teacher's k most probable tokens and the rest as one. */
export const topKDivergence: Bench = {
  name: 'topKDivergence',
  summary: 'divergences from the stored 64 most probable tokens of a teacher, at the head of Qwen2.5-0.5B',
  async run(context) {
    const sizes = context.tiny ? TINY : SIZES
    const device = context.device()
    const rows: Row[] = []
    try {
      for (const c of CASES) rows.push(await measure(context, device, sizes, c))
    } finally {
      await device.close()
    }
    const { tokens, hidden, vocab, k } = sizes
    return {
      name: 'topKDivergence',
      title: `Divergence from a stored signal: ${tokens} tokens, k = ${k}, hidden ${hidden} -> ${vocab}, median`,
      ceiling: 'the matrix products alone (logits; two gradients) at the rate of multiply-adds from registers',
      rows,
      notes: [
        'PyTorch: eager, over the logits of all tokens: log-softmax, gather, log-sum-exp of what is left. The gradient of the head is float32 here, of the dtype of the weight there.',
      ],
    }
  },
}

/** A signal of normal logits: k ids in a row of tokens that differ, and what they leave. */
function randomTeacher({ tokens, vocab, k }: Sizes): TopKTeacher {
  const random = new Random('signal')
  const ids = new Int32Array(tokens * k)
  const logProbabilities = new Float32Array(tokens * (k + 1))
  for (let row = 0; row < tokens; row++) {
    const first = random.int(0, vocab - 1)
    const apart = Math.floor(vocab / k)
    for (let i = 0; i < k; i++) ids[row * k + i] = (first + i * apart) % vocab
    const weights = Array.from({ length: k + 1 }, () => Math.exp(4 * random.float()))
    const sum = weights.reduce((a, b) => a + b)
    logProbabilities.set(
      weights.map((w) => Math.log(w / sum)),
      row * (k + 1),
    )
  }
  return { k, tokens: Int32Array.from({ length: tokens }, (_, i) => i), ids, logProbabilities }
}

async function measure(context: BenchContext, device: Device, sizes: Sizes, c: Case): Promise<Row> {
  const { tokens, hidden: width, vocab } = sizes
  const { kind, dtype, backward } = c
  const hidden = randomTensor(device, [tokens, width], dtype)
  const weight = randomTensor(device, [vocab, width], dtype, width ** -0.5)
  const inputs = { hidden, weight, teacher: randomTeacher(sizes), divergence: kind, scale: 1 / tokens }
  if (backward)
    for (const t of [hidden, weight]) {
      t.requiresGrad = true
      gradOf(t)
    }
  const run = async () => {
    {
      using _scope = device.scope()
      if (backward) {
        using tape = new Tape(device)
        tape.backward(op(inputs).loss)
      } else op(inputs)
    }
    await device.synchronize()
  }
  const peer = context.peer('top_k_divergence.py') // one process a case: its logits take gigabytes
  try {
    const timing = await context.race(contender(run), peer, { ...sizes, ...c }, dtype)
    const flops = 2 * tokens * vocab * width * (backward ? 3 : 1)
    return context.row(`${kind}, ${backward ? 'loss and gradients' : 'loss alone'}, ${dtype}`, timing, {
      unit: 'tokens/s',
      better: 'higher',
      figure: (seconds) => tokens / seconds,
      ceiling: timing.ceiling && (timing.ceiling * 1e9 * tokens) / flops,
      headline: dtype === 'bfloat16',
    })
  } finally {
    await peer?.close()
    for (const t of [hidden, weight]) {
      t.grad?.dispose()
      t.dispose()
    }
  }
}
