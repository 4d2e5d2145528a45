import Benchmark from 'benchmark'
import { distillHead, linearCrossEntropy } from '../lib/ops/distillHead.js'
import { DIVERGENCES } from '../lib/ops/divergence.js'
import { Device } from '../lib/tensor/device.js'
import { Tape } from '../lib/tensor/tape.js'
import type { Tensor } from '../lib/tensor/tensor.js'

/**
 * Seconds and GFLOP/s of the distillation head with all its gradients, by divergence:
 *
 *     npx tsx bench/distillHead.bench.ts [--tokens 256] [--hs 896] [--ht 1536] [--vocab 151936] [--dtype bfloat16]
 *
 * Counted are 2 * tokens * vocab * (3 * hs + ht) operations: two projections and two gradients. The peer with the same sizes is PyTorch.
 */
const option = (name: string, fallback: string): string => {
  const at = process.argv.indexOf(`--${name}`)
  return at > 0 ? (process.argv[at + 1] ?? fallback) : fallback
}
const [tokens, hs, ht, vocab] = (
  [
    ['tokens', '256'],
    ['hs', '896'],
    ['ht', '1536'],
    ['vocab', '151936'],
  ] as const
).map(([name, fallback]) => Number(option(name, fallback))) as [number, number, number, number]
const dtype = option('dtype', 'bfloat16') as 'float32' | 'bfloat16'

const device = Device.open()

/** Values that repeat every 997: their logits are as spread out as random ones. */
function matrix(rows: number, cols: number, size: number): Tensor {
  const data = new Float32Array(rows * cols)
  for (let i = 0; i < data.length; i++) data[i] = (((i * 7919) % 997) / 498 - 1) * size
  return device.tensor(data, [rows, cols], dtype)
}
const hidden = matrix(tokens, hs, 1)
const weight = matrix(vocab, hs, hs ** -0.5)
const teacher = { hidden: matrix(tokens, ht, 1), weight: matrix(vocab, ht, ht ** -0.5) }
const labels = device.tensor(Int32Array.from({ length: tokens }, (_, i) => (i * 7919) % vocab))
hidden.requiresGrad = weight.requiresGrad = true

function measure(name: string, flops: number, head: () => { loss: Tensor; parts: Tensor }): Promise<string> {
  return new Promise((resolve) => {
    const bench = new Benchmark(
      async (deferred: { resolve(): void }) => {
        using _scope = device.scope()
        using tape = new Tape(device)
        tape.backward(head().loss)
        await device.synchronize()
        deferred.resolve()
      },
      { defer: true, maxTime: 3, minSamples: 3 },
    )
    bench.on('complete', () => {
      const seconds = [...bench.stats.sample].sort((a, b) => a - b)[bench.stats.sample.length >> 1]!
      const workspace = (device.memory().workspace / 1e6).toFixed(1)
      resolve(
        `${name.padEnd(20)} ${seconds.toFixed(3).padStart(8)} s ${(flops / seconds / 1e9).toFixed(1).padStart(8)} GFLOP/s   workspace ${workspace} MB`,
      )
    })
    bench.run({ async: true })
  })
}

console.log(`distillHead: ${tokens} tokens, ${hs} and ${ht} -> ${vocab}, ${dtype}`)
for (const divergence of DIVERGENCES)
  console.log(
    await measure(divergence, 2 * tokens * vocab * (3 * hs + ht), () =>
      distillHead({ hidden, weight, teacher, labels, divergence, beta: 0.1, scale: 1 / tokens }),
    ),
  )
console.log(
  await measure('no teacher', 6 * tokens * vocab * hs, () =>
    linearCrossEntropy(hidden, weight, labels, { scale: 1 / tokens }),
  ),
)
await device.close()
