import { ArgumentError } from '../errors.js'
import type { Qwen2 } from '../models/qwen2.js'
import { type LoadOptions, loadModel } from '../models/registry.js'
import type { Device } from '../tensor/device.js'
import { Tokenizer } from '../text/tokenizer.js'

/** A model with its tokenizer, checked against each other. */
export interface OpenedModel extends Disposable {
  model: Qwen2
  tokenizer: Tokenizer
}

/**
 * Opens a model folder for a task.
 * @param task `decode`: a language model; `classify`: a model with a classification head
 * @throws ArgumentError when the model is for the other task; ConfigError, CheckpointError, TokenizerError for a folder that does not fit
 */
export async function openModel(
  device: Device,
  path: string,
  task: 'decode' | 'classify',
  options: LoadOptions = {},
): Promise<OpenedModel> {
  const tokenizer = await Tokenizer.fromFolder(path)
  const model = await loadModel(device, path, options)
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
