import { DTypeError, ShapeError } from '../errors.js'
import { recording } from '../tensor/tape.js'
import { dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'
import { checkQkv, type Heads, partsOf, type QkvPacked, queriesAndKeys, rowsOf } from './qkvPacked.js'
import { checkRotation, type Rotation, rotate } from './rope.js'

/** How heads are laid out and which keys a query sees; shared by `attention` and `pagedAttention`. */
export interface HeadOptions {
  /** Query heads. */
  heads: number
  /** Key/value heads; a divisor of `heads`. Query head h reads key head floor(h / (heads / kvHeads)). */
  kvHeads: number
  /** Elements of a head: a multiple of 8, at most 256. */
  headDim: number
  /** Multiplies q . k; default 1 / sqrt(headDim). Positive. */
  scale?: number
}

/** Sequences side by side, and which keys a query sees in its own. */
export interface SequenceOptions extends HeadOptions {
  /** int32 [sequences + 1], ascending from 0 to tokens: sequence s is the tokens cuSeqlens[s] .. cuSeqlens[s + 1] - 1. May be empty. */
  cuSeqlens: Tensor
  /** Whether a query sees no key behind it; default false. */
  causal?: boolean
  /**
   * Sliding window. Causal: key j is visible to query i iff 0 <= i - j < window. Bidirectional: iff |i - j| <= window. Null: no limit.
   * (The first counts keys, the second distance, as model configurations do.)
   */
  window?: number | null
  /** An upper bound of the sequence lengths, where the caller knows one; at most tokens. Devices that launch by it need no read-back. */
  maxSeqlen?: number
}

/** What `attention` takes. */
export interface AttentionOptions extends SequenceOptions {
  /** [tokens, heads * headDim], float32 or bfloat16. */
  q: Tensor
  /** [tokens, kvHeads * headDim], of q's dtype. */
  k: Tensor
  /** [tokens, kvHeads * headDim], of q's dtype. */
  v: Tensor
}

/**
 * Attention over packed sequences: out_i = sum_j softmax_j(scale q_i . k_j) v_j over the visible keys of the query's own sequence. Tiled with
 * an online softmax: memory does not grow with the square of the length. The backward recomputes the weights.
 *
 * cuSeqlens that do not ascend from 0 to tokens fail on the device: the next read or synchronize rejects.
 * @returns [tokens, heads * headDim], q's shape and dtype
 * @throws ShapeError, DTypeError when the inputs do not fit
 */
export function attention(options: AttentionOptions): Tensor {
  const { q, k, v, headDim } = options
  check(options)
  const { device, dtype } = q
  const common = commonFields('attention', options, q)
  const parts = (q: Tensor, k: Tensor, v: Tensor): Parts => ({
    q: rowsOf(q, headDim),
    k: rowsOf(k, headDim),
    v: rowsOf(v, headDim),
  })
  const record = recording(q, k, v)
  const out = device.empty(q.shape, dtype)
  const lse = record ? device.empty([options.heads, q.dim(0)]) : null
  device.launch('attention', { ...fields(parts(q, k, v)), out, lse, ...common })
  if (record)
    device.tape!.record({
      name: 'attention',
      inputs: [q, k, v],
      outputs: [out],
      saved: [lse],
      backward: ([dout]) => {
        if (!dout) return [null, null, null]
        const [dq, dk, dv] = [q, k, v].map((t) => device.empty(t.shape, dtype)) as [Tensor, Tensor, Tensor]
        const operands = { ...fields(parts(q, k, v)), ...gradientFields(parts(dq, dk, dv)) }
        device.launch('attentionBackward', { ...operands, out, lse, dout, ...common })
        return [dq, dk, dv]
      },
    })
  return out
}

/** What `attentionQkvPacked` takes. */
export interface AttentionQkvPackedOptions extends SequenceOptions, QkvPacked {
  /** Queries and keys are rotated before, as by `rope`; default: they are taken as they are. */
  rope?: Rotation | null
}

/**
 * `attention` of one projection that holds queries, keys and values side by side, rotated first where `rope` says so. Nothing is copied, and the
 * gradient is written side by side. The results have the bits of `rope` and `attention` of the three apart.
 *
 * @returns [tokens, heads * headDim], of qkv's dtype
 * @throws ShapeError, DTypeError when the inputs do not fit
 */
export function attentionQkvPacked(options: AttentionQkvPackedOptions): Tensor {
  const { qkv, heads, kvHeads, headDim } = options
  checkPacked(options)
  const { device, dtype } = qkv
  const tokens = qkv.dim(0)
  const common = commonFields('attentionQkvPacked', options, qkv)
  const rotation = options.rope && { ...options.rope, device, dtype, headDim }
  const record = recording(qkv)
  const out = device.empty([tokens, heads * headDim], dtype)
  const lse = record ? device.empty([heads, tokens]) : null
  const rotated = rotation ? device.empty([tokens, (heads + kvHeads) * headDim], dtype) : null // queries and keys side by side
  const parts = (): Parts => ({ ...partsOf(options), ...(rotated && queriesAndKeys(rotated, options)) })
  if (rotation) rotate(rotation, partsOf(options), parts(), 1)
  device.launch('attention', { ...fields(parts()), out, lse, ...common })
  if (record)
    device.tape!.record({
      name: 'attentionQkvPacked',
      inputs: [qkv],
      outputs: [out],
      saved: [lse, rotated],
      backward: ([dout]) => {
        if (!dout) return [null]
        const dqkv = device.empty(qkv.shape, dtype)
        const gradients = partsOf({ ...options, qkv: dqkv })
        const operands = { ...fields(parts()), ...gradientFields(gradients) }
        device.launch('attentionBackward', { ...operands, out, lse, dout, ...common })
        if (rotation) rotate(rotation, gradients, gradients, -1)
        return [dqkv]
      },
    })
  else rotated?.dispose()
  return out
}

type Parts = Record<'q' | 'k' | 'v', Heads>

const fields = ({ q, k, v }: Parts) => ({
  ...{ q: q.address, k: k.address, v: v.address },
  ...{ qStride: q.stride, kStride: k.stride, vStride: v.stride },
})
const gradientFields = ({ q, k, v }: Parts) => ({
  ...{ dq: q.address, dk: k.address, dv: v.address },
  ...{ dqStride: q.stride, dkStride: k.stride, dvStride: v.stride },
})

/** What the kernels take besides the operands. */
function commonFields(op: string, options: SequenceOptions, { shape, dtype }: Tensor) {
  const { cuSeqlens, heads, kvHeads, headDim } = options
  const sizes = { tokens: shape[0]!, sequences: cuSeqlens.size - 1, heads, kvHeads, headDim }
  return { cuSeqlens, ...sizes, ...windows(options), dtype: dtypeCode(dtype), scale: scaleOf(op, options) }
}

/** Keys visible before and behind a query; -1 is all. */
function windows({ causal = false, window = null }: SequenceOptions): { windowLeft: number; windowRight: number } {
  if (causal) return { windowLeft: window === null ? -1 : window - 1, windowRight: 0 }
  return { windowLeft: window ?? -1, windowRight: window ?? -1 }
}

function check(o: AttentionOptions): void {
  const { q, k, v, heads, kvHeads, headDim } = o
  checkHeads('attention', o)
  if (q.dtype === 'int32' || k.dtype !== q.dtype || v.dtype !== q.dtype)
    throw new DTypeError(
      `attention: q, k, v are ${q.dtype}, ${k.dtype}, ${v.dtype}; all must be float32 or all bfloat16`,
    )
  const tokens = q.dim(0)
  checkRows('attention', 'q', q, tokens, heads, headDim)
  checkRows('attention', 'k', k, tokens, kvHeads, headDim)
  checkRows('attention', 'v', v, tokens, kvHeads, headDim)
  checkSequences('attention', o, tokens)
}

function checkPacked(o: AttentionQkvPackedOptions): void {
  checkHeads('attentionQkvPacked', o)
  checkQkv('attentionQkvPacked', o)
  checkSequences('attentionQkvPacked', o, o.qkv.dim(0))
  if (o.rope) checkRotation('attentionQkvPacked', o.rope, o.qkv.dim(0), o.headDim)
}

function checkSequences(op: string, o: SequenceOptions, tokens: number): void {
  const { cuSeqlens, causal = false, window = null, maxSeqlen } = o
  if (cuSeqlens.dtype !== 'int32' || cuSeqlens.shape.length !== 1 || cuSeqlens.size === 0)
    throw new ShapeError(
      `${op}: cuSeqlens is ${cuSeqlens.dtype} ${shapeText(cuSeqlens.shape)}; it must be int32 [sequences + 1]`,
    )
  checkWindow(op, window, causal)
  if (maxSeqlen !== undefined && !(maxSeqlen >= 0 && maxSeqlen <= tokens))
    throw new ShapeError(
      `${op}: maxSeqlen is ${maxSeqlen} but there are ${tokens} tokens; give the longest sequence or leave it out`,
    )
}

/** @internal */
export function checkHeads(op: string, { heads, kvHeads, headDim }: HeadOptions): void {
  if (!(Number.isInteger(heads) && Number.isInteger(kvHeads) && kvHeads > 0 && heads > 0 && heads % kvHeads === 0))
    throw new ShapeError(`${op}: ${heads} heads cannot share ${kvHeads} key heads; heads must be a multiple of kvHeads`)
  if (!(Number.isInteger(headDim / 8) && headDim > 0 && headDim <= 256))
    throw new ShapeError(`${op}: headDim is ${headDim}; it must be a multiple of 8 of at most 256`)
}

/** @internal */
export function checkRows(op: string, name: string, x: Tensor, tokens: number, heads: number, headDim: number): void {
  if (x.dim(0) !== tokens || x.size !== tokens * heads * headDim)
    throw new ShapeError(`${op}: ${name} is ${shapeText(x.shape)}; it must be [${tokens}, ${heads} * ${headDim}]`)
}

/** @internal */
export function checkWindow(op: string, window: number | null, causal: boolean): void {
  if (window !== null && !(Number.isInteger(window) && window >= (causal ? 1 : 0)))
    throw new ShapeError(
      `${op}: window is ${window}; it must be a whole number of keys that includes the query itself, or null`,
    )
}

/** The scale of an op's scores. @internal */
export function scaleOf(op: string, { scale, headDim }: HeadOptions): number {
  if (scale !== undefined && !(scale > 1e-10 && scale < 1e6))
    throw new ShapeError(`${op}: scale is ${scale}; it must be a positive number, usually 1 / sqrt(headDim)`)
  return scale ?? 1 / Math.sqrt(headDim)
}
