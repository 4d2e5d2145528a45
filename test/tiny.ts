import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { generatePairs } from '../lib/fit/generate.js'
import { Decoder } from '../lib/models/decoder.js'
import type { DecoderConfig } from '../lib/models/decoderConfig.js'
import { saveFolder } from '../lib/models/folder.js'
import { randomWeights } from '../lib/models/initialise.js'
import type { Device } from '../lib/tensor/device.js'
import { CHAT_SPECIAL_TOKENS, trainByteLevelBpe } from '../lib/text/bpeTrainer.js'
import { Tokenizer } from '../lib/text/tokenizer.js'
import { tokenizerFiles, writeTokenizer } from '../lib/text/writeTokenizer.js'
import { tinyConfig } from './configs.js'

/** A folder of its own for a test file, removed after its tests. Call it at the top of the file: hooks cannot add hooks. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lantern-test-'))
  afterAll(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Writes a tokenizer of the domain; `texts` differ with the seed, and so do the tokens. */
export async function writeTinyTokenizer(folder: string, seed = 1, vocabSize = 600): Promise<void> {
  const texts = Array.from(generatePairs({ seed, count: 6 }), (pair) => `${pair.prompt.user}\n${pair.explanation}`)
  await writeTokenizer(
    folder,
    tokenizerFiles(trainByteLevelBpe({ texts, vocabSize, specialTokens: CHAT_SPECIAL_TOKENS })),
  )
}

/** Writes a random model of two layers with the tokenizer of `tokenizerFrom`. */
export async function writeTinyModel(
  device: Device,
  folder: string,
  options: {
    tokenizerFrom: string
    seed?: number
    hiddenSize?: number
    /** Rows of the vocabulary beyond the tokenizer's. */
    padding?: number
    /** Standard deviation of the weights. */
    std?: number
    config?: Partial<DecoderConfig>
    changes?: (model: Decoder) => void
  },
): Promise<void> {
  const { tokenizerFrom, seed = 1, hiddenSize = 32, padding = 0, std, changes } = options
  const tokenizer = await Tokenizer.fromFolder(tokenizerFrom)
  const config = tinyConfig({
    hiddenSize,
    headDim: hiddenSize / 2,
    intermediateSize: 2 * hiddenSize,
    vocabSize: tokenizer.vocabSize + padding,
    maxPositionEmbeddings: 2048,
    eosTokenId: tokenizer.eosTokenId,
    padTokenId: tokenizer.padTokenId,
    ...options.config,
  })
  using model = new Decoder(device, config, randomWeights(device, { seed, layers: 2, ...(std && { std }) }))
  changes?.(model)
  const tensors = [...model.parameters].map(([name, tensor]) => ({ name, tensor }))
  await saveFolder(folder, { config, tensors, tokenizerFrom })
}
