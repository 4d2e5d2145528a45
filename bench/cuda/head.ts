import { distillHead } from '../../lib/ops/distillHead.js'
import type { Device } from '../../lib/tensor/device.js'
import { Tape } from '../../lib/tensor/tape.js'
import type { FloatDType } from '../../lib/tensor/tensor.js'
import { randomTensor } from '../support/data.js'
import { bytes, type Case, distinct, integers } from './case.js'

/** Sizes of a distillation head; all tokens have a label. */
export interface HeadSizes {
  tokens: number
  hidden: number
  teacherHidden: number
  vocab: number
}

/** Enqueues loss and all gradients by the Jensen-Shannon divergence. */
export function runHead(device: Device, { tokens, hidden, teacherHidden, vocab }: HeadSizes, dtype: FloatDType): void {
  const of = (rows: number, cols: number) => randomTensor(device, [rows, cols], dtype, cols ** -0.5)
  const [x, weight] = [of(tokens, hidden), of(vocab, hidden)]
  for (const t of [x, weight]) t.requiresGrad = true
  const teacher = { hidden: of(tokens, teacherHidden), weight: of(vocab, teacherHidden) }
  const labels = integers(device, distinct(tokens, vocab))
  using tape = new Tape(device)
  const options = { hidden: x, weight, teacher, labels, divergence: 'jensenShannon', scale: 1 / tokens } as const
  tape.backward(distillHead(options).loss)
}

const headCase = (dtype: FloatDType, sizes: HeadSizes): Case => ({
  shape: `${sizes.tokens} tokens, hidden ${sizes.hidden} and ${sizes.teacherHidden}, vocabulary ${sizes.vocab}`,
  run(device) {
    runHead(device, sizes, dtype)
    const { tokens, hidden, teacherHidden, vocab } = sizes
    const element = dtype === 'float32' ? 4 : 2
    const product = 2 * tokens * vocab
    const mma = dtype === 'bfloat16'
    const name = (step: string, weight = '') => (mma ? `distillHeadMma_${step}` : `distillHeadFloat_${step}${weight}`)
    const states = tokens * (hidden + teacherHidden) * element
    const plane = tokens * vocab * 4
    const stats = tokens * (vocab / 128) * 8
    const together = { bound: 'sectors', because: "a token's four results lie together; 32 bytes a token" } as const
    const rowBytes = 2 * plane + tokens * vocab * element + 2 * stats + bytes(tokens * 32, tokens * 4, tokens * 4, 4)
    return [
      { kernel: name('logits'), flops: product * (hidden + teacherHidden) },
      { kernel: name('weightGradient'), flops: product * hidden },
      { kernel: name('hiddenGradient'), flops: product * hidden },
      { kernel: 'distillHead_rows', bytes: rowBytes },
      { kernel: 'distillHead_gather', bytes: 2 * states + 2 * bytes(tokens * 4, 4) },
      { kernel: 'distillHead_select', bytes: bytes(tokens * 4, tokens * 4, 4) },
      { kernel: 'distillHead_total', bytes: bytes(tokens * 32, 4, 20, 4), except: together },
    ]
  },
})

export const head: readonly Case[] = [
  headCase('bfloat16', { tokens: 128, hidden: 256, teacherHidden: 384, vocab: 1024 }),
  headCase('float32', { tokens: 64, hidden: 64, teacherHidden: 128, vocab: 1024 }),
]
