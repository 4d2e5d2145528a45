import type { DecoderConfig } from '../lib/models/decoderConfig.js'
import type { ModernBertConfig } from '../lib/models/modernbertConfig.js'

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

/** A classifier with layers of both kinds. */
export const MODERNBERT: ModernBertConfig = {
  modelType: 'modernbert',
  hiddenSize: 64,
  layers: 4,
  heads: 4,
  kvHeads: 4,
  headDim: 16,
  intermediateSize: 96,
  vocabSize: 1000,
  slidingWindow: [null, 32, 32, null],
  maxPositionEmbeddings: 1024,
  causal: false,
  numLabels: 3,
  globalRopeTheta: 160_000,
  localRopeTheta: 10_000,
  normEps: 1e-5,
  pooling: 'mean',
  eosTokenId: null,
  bosTokenId: null,
  padTokenId: null,
  dtype: 'float32',
}
