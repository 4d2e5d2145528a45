import { ArgumentError } from '../errors.js'
import type { Decoder } from '../models/decoder.js'
import type { Model } from '../models/model.js'
import { type LoadOptions, loadDecoder, loadModel } from '../models/registry.js'
import type { Device } from '../tensor/device.js'
import { Tokenizer } from '../text/tokenizer.js'

/** A model with its tokenizer, checked against each other. */
export interface Opened<M extends Model> extends Disposable {
  model: M
  tokenizer: Tokenizer
}

/**
 * Opens a model folder for a task.
 * @param task `decode`: a language model; `classify`: a model with a classification head, of any family
 * @throws ArgumentError when the model is for the other task; ConfigError, CheckpointError, TokenizerError for a folder that does not fit
 */
export async function openModel(
  device: Device,
  path: string,
  task: 'decode',
  options?: LoadOptions,
): Promise<Opened<Decoder>>
export async function openModel(
  device: Device,
  path: string,
  task: 'classify',
  options?: LoadOptions,
): Promise<Opened<Model>>
export async function openModel(
  device: Device,
  path: string,
  task: 'decode' | 'classify',
  options: LoadOptions = {},
): Promise<Opened<Model>> {
  const tokenizer = await Tokenizer.fromFolder(path)
  const model = await (task === 'decode' ? loadDecoder : loadModel)(device, path, options)
  try {
    tokenizer.checkMatches(model.config.vocabSize)
    const classifies = model.config.numLabels !== undefined
    if (classifies && task === 'decode')
      throw new ArgumentError(`${path} is a classifier and writes no text; give a language model`)
    if (!classifies && task === 'classify')
      throw new ArgumentError(`${path} has no classification head; give a model that lantern classify-train made`)
  } catch (error) {
    model.dispose()
    throw error
  }
  return { model, tokenizer, [Symbol.dispose]: () => model.dispose() }
}
