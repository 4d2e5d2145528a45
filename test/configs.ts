import type { DecoderConfig } from '../lib/models/decoderConfig.js'

/** A Qwen2 of a few thousand parameters; `changes` win. */
export const tinyConfig = (changes: Partial<DecoderConfig> = {}): DecoderConfig => ({
  modelType: 'qwen2',
  hiddenSize: 32,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 16,
  intermediateSize: 48,
  vocabSize: 60,
  ropeTheta: 10_000,
  rmsNormEps: 1e-6,
  tieWordEmbeddings: true,
  slidingWindow: null,
  maxPositionEmbeddings: 64,
  causal: true,
  attentionBias: true,
  eosTokenId: null,
  bosTokenId: null,
  padTokenId: null,
  dtype: 'float32',
  ...changes,
})
