import type { DecoderFamily } from './decoderConfig.js'

/**
 * Phi-3-mini (Phi-3 Technical Report, arXiv 2404.14219): q, k, v in one projection and gate, up in another, no biases, every layer slides, and
 * contexts beyond the first 4,096 tokens by longrope.
 */
export const phi3: DecoderFamily = {
  modelType: 'phi3',
  className: 'Phi3',
  defaults: {
    rms_norm_eps: 1e-5,
    max_position_embeddings: 4096,
    bos_token_id: 1,
    eos_token_id: 32000,
    pad_token_id: 32000,
  },
  flags: () => ({ fusedProjections: true }),
  windows: (raw) => Array.from({ length: raw.num_hidden_layers }, () => raw.sliding_window ?? null),
  write: ({ ropeScaling, maxPositionEmbeddings }) => ({
    original_max_position_embeddings: ropeScaling?.originalMaxPositions ?? maxPositionEmbeddings,
    resid_pdrop: 0,
    embd_pdrop: 0,
  }),
}
