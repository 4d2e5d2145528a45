import { DTypeError, ShapeError } from '../errors.js'
import { dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'
import { checkHeads, checkRows, checkWindow, type HeadOptions, scaleOf } from './attention.js'

/** What `pagedAttention` takes. */
export interface PagedAttentionOptions extends HeadOptions {
  /** [tokens, heads * headDim], float32 or bfloat16: the new tokens, one per sequence unless cuSeqlens says otherwise. */
  q: Tensor
  /** [blocks, blockSize, kvHeads, headDim], float32 or bfloat16; holds the new tokens' keys already. */
  kCache: Tensor
  /** [blocks, blockSize, kvHeads, headDim], of kCache's dtype. */
  vCache: Tensor
  /** int32 [sequences, maxBlocks]: position t of sequence s is row t % blockSize of block blockTables[s, floor(t / blockSize)]. */
  blockTables: Tensor
  /** int32 [sequences]: tokens of each sequence, the new ones included. */
  contextLens: Tensor
  /** int32 [sequences + 1], ascending from 0 to tokens: the new tokens of each sequence, its last ones. Default: one each. */
  cuSeqlens?: Tensor | null
  /** Sliding window: a query sees its own key and the window - 1 before it. Null: no limit. */
  window?: number | null
}

/**
 * Causal attention of new tokens over a key/value cache in blocks (Kwon et al. 2023, arXiv 2309.06180). All query heads of a group share one
 * pass over their keys. Inference only: nothing is recorded.
 *
 * Block numbers, lengths or cuSeqlens that do not fit fail on the device: the next read or synchronize rejects.
 * @returns [tokens, heads * headDim], q's shape and dtype
 * @throws ShapeError, DTypeError when the inputs do not fit
 */
export function pagedAttention(options: PagedAttentionOptions): Tensor {
  const {
    q,
    kCache,
    vCache,
    blockTables,
    contextLens,
    cuSeqlens = null,
    heads,
    kvHeads,
    headDim,
    window = null,
  } = options
  checkHeads('pagedAttention', options)
  checkWindow('pagedAttention', window, true)
  checkCaches('pagedAttention', kCache, vCache)
  if (q.dtype === 'int32') throw new DTypeError('pagedAttention: q is int32; it must be float32 or bfloat16')
  const tokens = q.dim(0)
  checkRows('pagedAttention', 'q', q, tokens, heads, headDim)
  const [blocks, blockSize] = [kCache.dim(0), kCache.dim(1)]
  if (kCache.size !== blocks * blockSize * kvHeads * headDim)
    throw new ShapeError(
      `pagedAttention: the caches are ${shapeText(kCache.shape)}; they must be [blocks, blockSize, ${kvHeads}, ${headDim}]`,
    )
  const sequences = contextLens.size
  for (const [name, x] of Object.entries({ blockTables, contextLens, cuSeqlens }))
    if (x && x.dtype !== 'int32') throw new DTypeError(`pagedAttention: ${name} is ${x.dtype}; it must be int32`)
  if (blockTables.shape.length !== 2 || blockTables.dim(0) !== sequences)
    throw new ShapeError(
      `pagedAttention: blockTables is ${shapeText(blockTables.shape)} for ${sequences} contextLens; it must be [${sequences}, maxBlocks]`,
    )
  if (cuSeqlens ? cuSeqlens.size !== sequences + 1 : tokens !== sequences)
    throw new ShapeError(
      `pagedAttention: ${tokens} query tokens for ${sequences} sequences; give one token each, or cuSeqlens of ${sequences + 1} entries`,
    )
  const out = q.device.empty(q.shape, q.dtype)
  q.device.launch('pagedAttention', {
    q,
    kCache,
    vCache,
    blockTables,
    contextLens,
    cuSeqlens,
    out,
    tokens,
    sequences,
    heads,
    kvHeads,
    headDim,
    qStride: heads * headDim,
    blocks,
    blockSize,
    maxBlocks: blockTables.dim(1),
    windowLeft: window === null ? -1 : window - 1,
    dtype: dtypeCode(q.dtype),
    cacheDtype: dtypeCode(kCache.dtype),
    scale: scaleOf('pagedAttention', options),
  })
  return out
}

/** What `cacheWrite` takes. */
export interface CacheWriteOptions {
  /** [tokens, kvHeads * headDim], float32 or bfloat16. */
  k: Tensor
  /** [tokens, kvHeads * headDim], of k's dtype. */
  v: Tensor
  /** [blocks, blockSize, kvHeads, headDim], float32 or bfloat16; written in place. */
  kCache: Tensor
  /** [blocks, blockSize, kvHeads, headDim], of kCache's dtype; written in place. */
  vCache: Tensor
  /** int32 [tokens]: block * blockSize + row of each token, none twice; -1 leaves a token out. */
  slotMapping: Tensor
}

/**
 * Stores keys and values of new tokens in a cache of blocks.
 *
 * A slot outside the cache fails on the device: the next read or synchronize rejects and nothing is written.
 * @throws ShapeError, DTypeError when the inputs do not fit
 */
export function cacheWrite({ k, v, kCache, vCache, slotMapping }: CacheWriteOptions): void {
  checkCaches('cacheWrite', kCache, vCache)
  if (k.dtype === 'int32' || v.dtype !== k.dtype || slotMapping.dtype !== 'int32')
    throw new DTypeError(
      `cacheWrite: k, v, slotMapping are ${k.dtype}, ${v.dtype}, ${slotMapping.dtype}; k and v must be of one float dtype, slotMapping int32`,
    )
  const tokens = slotMapping.size
  const slots = kCache.dim(0) * kCache.dim(1)
  const cols = slots === 0 ? 0 : kCache.size / slots
  for (const [name, x] of Object.entries({ k, v }))
    if (x.dim(0) !== tokens || x.size !== tokens * cols)
      throw new ShapeError(
        `cacheWrite: ${name} is ${shapeText(x.shape)} for ${tokens} slots of ${cols} elements; it must be [${tokens}, ${cols}]`,
      )
  const dtypes = { dtype: dtypeCode(k.dtype), cacheDtype: dtypeCode(kCache.dtype) }
  k.device.launch('cacheWrite', {
    k,
    v,
    slotMapping,
    kCache,
    vCache,
    tokens,
    cols,
    slots,
    kStride: cols,
    vStride: cols,
    ...dtypes,
  })
}

function checkCaches(op: string, kCache: Tensor, vCache: Tensor): void {
  if (kCache.dtype === 'int32' || vCache.dtype !== kCache.dtype)
    throw new DTypeError(
      `${op}: the caches are ${kCache.dtype} and ${vCache.dtype}; both must be float32 or both bfloat16`,
    )
  if (kCache.shape.length !== 4 || shapeText(kCache.shape) !== shapeText(vCache.shape))
    throw new ShapeError(
      `${op}: the caches are ${shapeText(kCache.shape)} and ${shapeText(vCache.shape)}; both must be [blocks, blockSize, kvHeads, headDim]`,
    )
}
