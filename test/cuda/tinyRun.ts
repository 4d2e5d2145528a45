// A step of distillation between models so small that the PTX machine does hundreds of them in a minute.
import { distillation } from '../../lib/distill/objectives.js'
import type { Decoder } from '../../lib/models/decoder.js'
import { createDecoder } from '../../lib/models/registry.js'
import type { Device } from '../../lib/tensor/device.js'
import type { Sample } from '../../lib/train/batches.js'
import { Optimiser } from '../../lib/train/optimiser.js'
import { Trainer } from '../../lib/train/trainer.js'
import { tinyConfig } from '../configs.js'

/** A model of a few thousand parameters. */
export const TINY = tinyConfig({
  hiddenSize: 16,
  layers: 1,
  headDim: 8,
  intermediateSize: 24,
  vocabSize: 40,
  maxPositionEmbeddings: 32,
})

/** Two sequences, each a micro-batch of its own. */
const samples: Sample[] = [5, 3].map((length) => {
  const ids = Int32Array.from({ length }, (_, i) => (7 * i + length) % TINY.vocabSize)
  return { ids, labels: ids.map((_, i) => ids[i + 1] ?? -100) }
})

/** Student, teacher, optimiser and trainer of a tiny distillation. */
export class TinyRun {
  readonly student: Decoder
  readonly #teacher: Decoder
  readonly #optimiser: Optimiser
  readonly #trainer: Trainer

  constructor(device: Device) {
    this.student = createDecoder(device, TINY, { seed: 1, dtype: 'float32' })
    this.#teacher = createDecoder(device, TINY, { seed: 2, dtype: 'float32' })
    this.#optimiser = new Optimiser(this.student.parameters)
    const objective = distillation(this.student, this.#teacher, { divergence: 'jensenShannon' })
    this.#trainer = new Trainer(device, objective, this.#optimiser, samples, [], {
      seed: 1,
      batchSize: samples.length,
      microBatchTokens: 5,
      steps: 1,
      learningRate: 0.01,
      warmupSteps: 0,
      decay: 'constant',
      maxGradNorm: 1,
      evalEvery: 0,
      patience: 0,
      checkpointEvery: 0,
    })
  }

  /** One optimiser step. @returns its loss, its gradient norm and every parameter after it */
  async step(): Promise<number[]> {
    const { parts, gradNorm } = await this.#trainer.step()
    const values = await Promise.all([...this.student.parameters.values()].map((p) => p.floats()))
    return [parts.loss!, gradNorm, ...values.flatMap((v) => [...v])]
  }

  dispose(): void {
    this.#optimiser.dispose()
    this.student.dispose()
    this.#teacher.dispose()
  }
}
