import { type DecoderFamily, optionalWindows } from './decoderConfig.js'

/**
 * Qwen2 and Qwen2.5 of any size (Qwen2 Technical Report, arXiv 2407.10671): biases at q, k and v. Embedding models with this body
 * (gte-Qwen2) say `is_causal: false`; see gte.ts.
 */
export const qwen2: DecoderFamily = {
  modelType: 'qwen2',
  className: 'Qwen2',
  flags: () => ({ attentionBias: true }),
  windows: optionalWindows,
}
