import { ArgumentError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { dtypeCode, type FloatDType, type Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'
import { Decoder } from './decoder.js'
import type { DecoderConfig } from './decoderConfig.js'
import { buildModel } from './families.js'
import { openFolder } from './folder.js'
import { randomWeights } from './initialise.js'
import { isOfBody, type Model, type WeightSource } from './model.js'

/** How to load a model. */
export interface LoadOptions {
  /**
   * Copies the weights into memory of their own and marks them as wanting gradients; default false: they stay mapped. `head`: only those of the
   * head, over a body that is frozen.
   */
  trainable?: boolean | 'head'
  /** Storage of the weights; default: as in the file when mapped, float32 when trainable. */
  weights?: FloatDType
  /** Storage of the activations; default float32. */
  activations?: FloatDType
  /** Changes to the config before the model is built: a classification head on a language model, say. */
  config?: Partial<ModelConfig & Omit<DecoderConfig, keyof ModelConfig>>
  /** Seeds tensors that the folder lacks (a new classification head). Without it a missing tensor is an error. */
  initialiseMissing?: number
}

/**
 * Loads a model of any family from a Hugging Face folder, or a pulled one by its name.
 * @throws ConfigError; CheckpointError listing all that is missing, misshapen or unexpected
 */
export async function loadModel(device: Device, path: string, options: LoadOptions = {}): Promise<Model> {
  const folder = await openFolder(device, path)
  const config: ModelConfig = { ...folder.config, ...options.config }
  const fresh = randomWeights(device, { seed: options.initialiseMissing ?? 0, layers: config.layers })
  const { trainable = false } = options
  const isTrained = (name: string) => (trainable === 'head' ? !isOfBody(name) : trainable)
  const dtypeOf = (name: string) => options.weights ?? (isTrained(name) ? 'float32' : undefined)
  try {
    folder.verify(config, { missing: options.initialiseMissing !== undefined })
    const source: WeightSource = (name, shape) =>
      folder.has(name)
        ? converted(folder.get(name, shape), dtypeOf(name), isTrained(name))
        : converted(fresh(name, shape), dtypeOf(name), false)
    return buildModel(device, config, source, options.activations).trainable(trainable)
  } finally {
    folder.close() // tensors that are still mapped keep the file
  }
}

/**
 * As `loadModel`, for what generates, teaches or learns to write.
 * @throws ArgumentError when the folder holds an encoder or two towers
 */
export async function loadDecoder(device: Device, path: string, options: LoadOptions = {}): Promise<Decoder> {
  const model = await loadModel(device, path, options)
  if (model instanceof Decoder) return model
  model.dispose()
  const { twoTower, modelType } = model.config
  const what = twoTower ? 'a classifier of two towers' : `an encoder (${modelType})`
  throw new ArgumentError(`${path} is ${what} and writes no text; give a language model`)
}

/**
 * A decoder with fresh random weights that want gradients.
 * @param options.dtype of weights and activations
 */
export function createDecoder(
  device: Device,
  config: DecoderConfig,
  options: { seed: number; dtype: FloatDType },
): Decoder {
  const fresh = randomWeights(device, { seed: options.seed, layers: config.layers })
  const source: WeightSource = (name, shape) => converted(fresh(name, shape), options.dtype, false)
  return new Decoder(device, config, source, options.dtype).trainable()
}

/** `t` in another dtype, or in memory of its own when `copy`; `t` itself where nothing needs to be done. */
function converted(t: Tensor, dtype: FloatDType | undefined, copy: boolean): Tensor {
  if (!copy && (dtype ?? t.dtype) === t.dtype) return t
  const { device } = t
  return device.persistent(() => {
    const y = device.empty(t.shape, dtype ?? t.dtype)
    const dtypes = { xDtype: dtypeCode(t.dtype), dtype: dtypeCode(y.dtype) }
    device.launch('copy', { x: t, y, rows: 1, cols: t.size, xStride: t.size, yStride: t.size, ...dtypes })
    t.dispose()
    return y
  })
}
