import { LanternError } from '../errors.js'
import { adamw, type ParameterTable, parameterTable } from '../ops/adamw.js'
import { gradNorm } from '../ops/gradNorm.js'
import { gradOf } from '../tensor/tape.js'
import { dtypeCode, type Tensor } from '../tensor/tensor.js'

/** AdamW's constants. */
export interface AdamWOptions {
  betas?: readonly [number, number]
  eps?: number
  /** Decoupled; not applied to vectors (norm weights and biases), as is the custom. */
  weightDecay?: number
}

/** One parameter with what the optimiser keeps of it, all float32 and of its shape. */
interface Slot {
  name: string
  parameter: Tensor
  /** The parameter itself where that is float32. */
  master: Tensor
  m: Tensor
  v: Tensor
}

/**
 * AdamW (Loshchilov & Hutter, arXiv 1711.05101) over all parameters in one launch: float32 master weights and moments, gradients clipped
 * to a global norm and zeroed in the same pass. A step whose gradient norm is not finite changes nothing, nor does one that was enqueued
 * before anybody knew of an error in the work before it.
 */
export class Optimiser {
  readonly #slots: Slot[]
  readonly #table: ParameterTable
  readonly #options: Required<AdamWOptions>
  /** Steps taken. */
  count = 0

  constructor(parameters: ReadonlyMap<string, Tensor>, options: AdamWOptions = {}) {
    this.#options = {
      betas: options.betas ?? [0.9, 0.999],
      eps: options.eps ?? 1e-8,
      weightDecay: options.weightDecay ?? 0.01,
    }
    const trainable = [...parameters].filter(([, p]) => p.requiresGrad)
    if (trainable.length === 0)
      throw new LanternError('ERR_OPTIMISER', 'no parameter has requiresGrad; call model.trainable() first')
    const { device } = trainable[0]![1]
    this.#slots = device.persistent(() =>
      trainable.map(([name, parameter]) => ({
        name,
        parameter,
        master: parameter.dtype === 'float32' ? parameter : floatCopy(parameter),
        m: device.zeros(parameter.shape),
        v: device.zeros(parameter.shape),
      })),
    )
    this.#table = device.persistent(() =>
      parameterTable(
        this.#slots.map((s) => ({
          parameter: s.master,
          grad: gradOf(s.parameter),
          m: s.m,
          v: s.v,
          copy: s.master === s.parameter ? null : s.parameter,
          decay: s.parameter.shape.length > 1,
        })),
      ),
    )
  }

  /** Enqueues one step. Returns the global gradient norm before clipping, [1]. */
  step(learningRate: number, maxGradNorm: number): Tensor {
    const { device } = this.#table
    const enqueue = () => {
      const norm = gradNorm(this.#table)
      this.count++
      adamw(this.#table, { ...this.#options, learningRate, step: this.count, maxGradNorm, norm, zeroGrad: true })
      return norm
    }
    return device.persistent(() => device.tidy(enqueue)) // a norm that is not returned is given back
  }

  /** Forgets the gradients that were added since the last step. */
  zeroGrad(): void {
    for (const { parameter } of this.#slots) {
      const y = gradOf(parameter)
      y.device.launch('fill', { y, count: y.size, dtype: dtypeCode(y.dtype), value: 0 })
    }
  }

  /** After a step that failed, and so changed neither parameters nor moments: forgets its gradients and that it was counted. */
  async takeBack(count: number): Promise<void> {
    this.count = count
    try {
      await this.#table.device.synchronize().catch(() => undefined) // then no error of the step keeps kernels from running
      this.zeroGrad()
    } catch {} // the device is lost or closed, as the error of the step tells
  }

  /** The first parameter that is not finite itself, else the first whose gradient is not; null when all are. For a step that was refused. */
  async firstNonFinite(): Promise<string | null> {
    const broken = async (t: Tensor) => (await t.floats()).some((x) => !Number.isFinite(x))
    for (const s of this.#slots) if (await broken(s.parameter)) return s.name
    for (const s of this.#slots) if (await broken(gradOf(s.parameter))) return `the gradient of ${s.name}`
    return null
  }

  /** Everything a resumed run needs besides the model: moments, and master weights where the model itself is bfloat16. */
  state(): { name: string; tensor: Tensor }[] {
    return this.#slots.flatMap((s) => [
      { name: `m.${s.name}`, tensor: s.m },
      { name: `v.${s.name}`, tensor: s.v },
      ...(s.master === s.parameter ? [] : [{ name: `master.${s.name}`, tensor: s.master }]),
    ])
  }

  /** Gives the moments and master weights back; the parameters and their gradients stay. */
  dispose(): void {
    for (const s of this.#slots) {
      s.m.dispose()
      s.v.dispose()
      if (s.master !== s.parameter) s.master.dispose()
    }
    this.#table.dispose()
  }
}

function floatCopy(t: Tensor): Tensor {
  const copy = t.device.empty(t.shape)
  t.device.launch('copy', {
    x: t,
    y: copy,
    rows: 1,
    cols: t.size,
    xStride: t.size,
    yStride: t.size,
    xDtype: 1,
    dtype: 0,
  })
  return copy
}
