import { type DecoderFamily, optionalWindows } from './decoderConfig.js'

/**
 * Qwen3, dense (Qwen3 Technical Report, arXiv 2505.09388): no biases, an RMSNorm over every head of q and k before they are rotated, heads
 * whose size is not hiddenSize / heads.
 */
export const qwen3: DecoderFamily = {
  modelType: 'qwen3',
  className: 'Qwen3',
  defaults: { head_dim: 128 },
  flags: (raw) => ({
    qkNorm: true,
    ...(raw.attention_bias && { attentionBias: true, outputBias: true }),
  }),
  windows: optionalWindows,
  write: (config) => ({ attention_bias: config.attentionBias }),
}
