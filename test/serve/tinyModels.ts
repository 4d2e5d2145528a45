import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { LEVELS } from '../../lib/distill/samples.js'
import { type GeneratedPair, generatePairs } from '../../lib/fit/generate.js'
import { fitPrompt } from '../../lib/fit/prompt.js'
import { type DecoderConfig, eosTokenIds } from '../../lib/models/config.js'
import { saveFolder } from '../../lib/models/folder.js'
import { randomWeights } from '../../lib/models/initialise.js'
import { Qwen2 } from '../../lib/models/qwen2.js'
import type { Device } from '../../lib/tensor/device.js'
import { trainByteLevelBpe } from '../../lib/text/bpeTrainer.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'
import { tokenizerFiles, writeTokenizer } from '../../lib/text/writeTokenizer.js'

/** Folders of an explainer and a classifier with random weights that share a tokenizer, and the pairs it was trained on. */
export interface TinyModels {
  explainer: string
  classifier: string
  pairs: GeneratedPair[]
  /** Saves another model with that tokenizer. */
  save(name: string, changes: Partial<DecoderConfig>): Promise<string>
}

/** Makes the folders in a temporary directory that is removed after the file's tests. */
export async function tinyModels(device: Device): Promise<TinyModels> {
  const root = await mkdtemp(join(tmpdir(), 'lantern-serve-'))
  afterAll(() => rm(root, { recursive: true }))
  const pairs = [...generatePairs({ seed: 'serve', count: 24 })]
  const texts = pairs.map(({ job, profile }) => Object.values(fitPrompt(job, profile)).join('\n'))
  const trained = trainByteLevelBpe({ texts, vocabSize: 600 })
  const tokenizerFrom = join(root, 'tokenizer')
  await writeTokenizer(tokenizerFrom, tokenizerFiles(trained))
  const tokenizer = await Tokenizer.fromFolder(tokenizerFrom)
  const save = async (name: string, changes: Partial<DecoderConfig>): Promise<string> => {
    const config = { ...tinyConfig(tokenizer), ...changes }
    using model = new Qwen2(device, config, randomWeights(device, { seed: 7, layers: config.layers, std: 0.3 }))
    // Its logit is 0 everywhere, so that no greedy answer ends before its time.
    if (!config.tieWordEmbeddings && config.numLabels === undefined)
      for (const id of eosTokenIds(config)) model.headWeight.rows(id, id + 1).write(new Float32Array(config.hiddenSize))
    const tensors = [...model.parameters].map(([tensorName, tensor]) => ({ name: tensorName, tensor }))
    const folder = join(root, name)
    await saveFolder(folder, { config, tensors, tokenizerFrom })
    return folder
  }
  const explainer = await save('explainer', {})
  // Not in the order of LEVELS: the service has to go by the names.
  const classifier = await save('classifier', { numLabels: 3, id2label: ['high', 'low', 'medium'] })
  return { explainer, classifier, pairs, save }
}

function tinyConfig(tokenizer: Tokenizer): DecoderConfig {
  return {
    modelType: 'qwen2',
    hiddenSize: 32,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    intermediateSize: 48,
    vocabSize: tokenizer.vocabSize + 5, // padded: the rows beyond have no text
    ropeTheta: 10_000,
    rmsNormEps: 1e-6,
    tieWordEmbeddings: false,
    slidingWindow: null,
    maxPositionEmbeddings: 2048,
    causal: true,
    attentionBias: true,
    eosTokenId: tokenizer.eosTokenId,
    bosTokenId: null,
    padTokenId: tokenizer.padTokenId,
    dtype: 'float32',
  }
}

/** Sum over the levels, for probabilities. */
export const total = (p: Record<(typeof LEVELS)[number], number>): number => LEVELS.reduce((n, l) => n + p[l], 0)
