import Benchmark from 'benchmark'
import { linear } from '../lib/ops/linear.js'
import { Device } from '../lib/tensor/device.js'

/**
 * GFLOP/s of the linear layer at the sizes of small models and of Qwen2.5-0.5B, forward, by dtype:
 *
 *     npm run bench -- linear
 */
const SHAPES = [
  [1, 4864, 896],
  [16, 4864, 896],
  [64, 4864, 896],
  [512, 4864, 896],
  [512, 896, 4864],
  [2000, 512, 128],
  [2000, 1024, 256],
  [2048, 2048, 2048],
] as const

const device = Device.open()

function run(m: number, n: number, k: number, dtype: 'float32' | 'bfloat16'): Promise<string> {
  const x = device.tensor(new Float32Array(m * k).fill(0.5), [m, k], dtype)
  const weight = device.tensor(new Float32Array(n * k).fill(0.25), [n, k], dtype)
  return new Promise((resolve) => {
    const bench = new Benchmark(
      async (deferred: { resolve(): void }) => {
        linear(x, weight).dispose()
        await device.synchronize()
        deferred.resolve()
      },
      { defer: true, maxTime: 1, minTime: 0.05, minSamples: 5 },
    )
    bench.on('complete', () => {
      const seconds = [...bench.stats.sample].sort((a, b) => a - b)[bench.stats.sample.length >> 1]!
      x.dispose()
      weight.dispose()
      const rate = ((2 * m * n * k) / seconds / 1e9).toFixed(1)
      resolve(
        `linear ${`${m} x ${n} x ${k}`.padEnd(20)} ${dtype.padEnd(8)} ${rate.padStart(7)} GFLOP/s  ${(seconds * 1e6).toFixed(0).padStart(8)} us`,
      )
    })
    bench.run({ async: true })
  })
}

for (const [m, n, k] of SHAPES)
  for (const dtype of ['float32', 'bfloat16'] as const) console.log(await run(m, n, k, dtype))
await device.close()
