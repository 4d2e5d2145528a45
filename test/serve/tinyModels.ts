import { join } from 'node:path'
import { LEVELS } from '../../lib/distill/samples.js'
import { type GeneratedPair, generatePairs } from '../../lib/fit/generate.js'
import { eosTokenIds } from '../../lib/models/config.js'
import type { Decoder } from '../../lib/models/decoder.js'
import type { DecoderConfig } from '../../lib/models/decoderConfig.js'
import type { Device } from '../../lib/tensor/device.js'
import { writeTinyModel, writeTinyTokenizer } from '../tiny.js'

/** Folders of an explainer and a classifier with random weights that share a tokenizer, and pairs to ask them about. */
export interface TinyModels {
  explainer: string
  classifier: string
  pairs: GeneratedPair[]
  /** Saves another model with that tokenizer. */
  save(name: string, config: Partial<DecoderConfig>): Promise<string>
}

/** Writes the models into `root`. */
export async function tinyModels(device: Device, root: string): Promise<TinyModels> {
  const tokenizerFrom = join(root, 'tokenizer')
  await writeTinyTokenizer(tokenizerFrom)
  const save = async (name: string, config: Partial<DecoderConfig>): Promise<string> => {
    const folder = join(root, name)
    const shape = { heads: 4, kvHeads: 2, headDim: 8, tieWordEmbeddings: false, ...config }
    const padding = 5 // rows beyond the tokenizer's have no text
    const options = { tokenizerFrom, seed: 7, std: 0.3, padding, config: shape, changes: neverEnding }
    await writeTinyModel(device, folder, options)
    return folder
  }
  const explainer = await save('explainer', {})
  // Not in the order of LEVELS: the service has to go by the names.
  const classifier = await save('classifier', { numLabels: 3, id2label: ['high', 'low', 'medium'] })
  return { explainer, classifier, pairs: [...generatePairs({ seed: 'serve', count: 24 })], save }
}

/** The logit of the end is 0 everywhere, so that no greedy answer ends before its time. */
function neverEnding({ config, headWeight }: Decoder): void {
  if (config.tieWordEmbeddings || config.numLabels !== undefined) return
  for (const id of eosTokenIds(config)) headWeight.rows(id, id + 1).write(new Float32Array(config.hiddenSize))
}

/** Sum over the levels, for probabilities. */
export const total = (p: Record<(typeof LEVELS)[number], number>): number => LEVELS.reduce((n, l) => n + p[l], 0)
