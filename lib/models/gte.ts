import { l2Normalize } from '../ops/pooling.js'
import type { Tensor } from '../tensor/tensor.js'
import type { Model } from './model.js'
import type { Packed } from './packed.js'

/**
 * Embeddings of texts: every sequence's pooled hidden state scaled to length 1, so that a dot product is a cosine similarity (gte, Li et al.
 * 2023, arXiv 2308.03281). gte-Qwen2 pools the last token of a bidirectional body: its config.json says `is_causal: false`; older copies lack the
 * key and need `loadModel(..., { config: { causal: false } })`.
 * @returns [sequences, hiddenSize], the model's activation dtype
 */
export function embed(model: Model, batch: Packed): Tensor {
  return l2Normalize(model.encode(batch))
}
