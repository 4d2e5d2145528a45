import { DTypeError, ShapeError } from '../errors.js'
import { dtypeBytes, shapeText, type Tensor } from '../tensor/tensor.js'

/** One projection of queries, keys and values, `qkv_proj` or `Wqkv` of a checkpoint. */
export interface QkvPacked {
  /** [tokens, (heads + 2 kvHeads) * headDim], float32 or bfloat16: of each token all query heads, then all key heads, then all value heads. */
  qkv: Tensor
  /** Query heads. */
  heads: number
  /** Key heads, and as many value heads. */
  kvHeads: number
  /** Elements of a head. */
  headDim: number
}

/** Heads side by side in rows that may hold more than them; an address of 0 and no heads stand for none. @internal */
export interface Heads {
  address: number
  heads: number
  /** Elements from one row to the next. */
  stride: number
}

/** Rows of heads and nothing else. @internal */
export function rowsOf(x: Tensor | null, headDim: number): Heads {
  if (!x || x.size === 0) return { address: 0, heads: 0, stride: 0 }
  x.assertLive()
  const stride = x.size / x.dim(0)
  return { address: x.address, heads: stride / headDim, stride }
}

/** Where queries, keys and values are; valid as long as qkv is. @internal */
export function partsOf({ qkv, heads, kvHeads, headDim }: QkvPacked): Record<'q' | 'k' | 'v', Heads> {
  const [q, k, v] = split(qkv, [heads, kvHeads, kvHeads], headDim) as [Heads, Heads, Heads]
  return { q, k, v }
}

/** The same of a tensor that holds queries and keys alone. @internal */
export function queriesAndKeys(qk: Tensor, { heads, kvHeads, headDim }: QkvPacked): Record<'q' | 'k', Heads> {
  const [q, k] = split(qk, [heads, kvHeads], headDim) as [Heads, Heads]
  return { q, k }
}

function split(x: Tensor, counts: readonly number[], headDim: number): Heads[] {
  x.assertLive()
  const stride = counts.reduce((a, b) => a + b) * headDim
  let address = x.address
  return counts.map((heads) => {
    const part = { address, heads, stride }
    address += heads * headDim * dtypeBytes(x.dtype)
    return part
  })
}

/** @throws DTypeError, ShapeError when qkv does not hold these heads @internal */
export function checkQkv(op: string, { qkv, heads, kvHeads, headDim }: QkvPacked): void {
  if (qkv.dtype === 'int32') throw new DTypeError(`${op}: qkv is int32; give float32 or bfloat16`)
  const [tokens] = qkv.shape
  const counts = [heads, kvHeads, headDim].every((n) => Number.isInteger(n) && n > 0)
  if (!counts || tokens === undefined || qkv.size !== tokens * (heads + 2 * kvHeads) * headDim)
    throw new ShapeError(
      `${op}: qkv is ${shapeText(qkv.shape)}; it must be [tokens, (heads + 2 kvHeads) * headDim], here (${heads} + 2 * ${kvHeads}) * ${headDim}`,
    )
}
