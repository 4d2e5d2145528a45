/** float64 reference of attention over packed sequences, and its gradients, the straightforward way. */
export interface AttentionCase {
  lengths: readonly number[]
  heads: number
  kvHeads: number
  headDim: number
  /** Key j is visible to query i iff -right <= i - j <= left. */
  left: number
  right: number
  scale: number
  /** Only the last so many queries of each sequence are computed; default all. */
  queries?: readonly number[]
}

/** Token ranges of the sequences. */
export function seqlens(lengths: readonly number[]): Int32Array {
  const cu = new Int32Array(lengths.length + 1)
  lengths.forEach((n, s) => {
    cu[s + 1] = cu[s]! + n
  })
  return cu
}

type Floats = Float32Array | Float64Array

/** out, and with dout also dq, dk, dv. All [tokens, heads * headDim]. */
export function attentionReference(c: AttentionCase, q: Floats, k: Floats, v: Floats, dout?: Floats) {
  const { heads, kvHeads, headDim: D, scale } = c
  const cu = seqlens(c.lengths)
  const [out, dq, dk, dv] = [q, q, k, v].map((x) => new Float64Array(x.length)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ]
  for (let s = 0; s < c.lengths.length; s++)
    for (let h = 0; h < heads; h++) {
      const g = Math.floor(h / (heads / kvHeads))
      for (let i = cu[s + 1]! - (c.queries?.[s] ?? c.lengths[s]!); i < cu[s + 1]!; i++) {
        const at = (i * heads + h) * D
        const low = Math.max(cu[s]!, i - c.left)
        const high = Math.min(cu[s + 1]! - 1, i + c.right)
        const keys = Array.from({ length: high - low + 1 }, (_, n) => ((low + n) * kvHeads + g) * D)
        const scores = keys.map((at2) => scale * dot(q, at, k, at2, D))
        const top = Math.max(...scores)
        const weights = scores.map((x) => Math.exp(x - top))
        const total = weights.reduce((a, b) => a + b, 0)
        const p = weights.map((w) => w / total)
        for (const [n, at2] of keys.entries()) add(out, at, p[n]!, v, at2, D)
        if (!dout) continue
        const dp = keys.map((at2) => dot(dout, at, v, at2, D))
        const delta = p.reduce((sum, w, n) => sum + w * dp[n]!, 0)
        keys.forEach((at2, n) => {
          const ds = p[n]! * (dp[n]! - delta) * scale
          add(dq, at, ds, k, at2, D)
          add(dk, at2, ds, q, at, D)
          add(dv, at2, p[n]!, dout, at, D)
        })
      }
    }
  return { out, dq, dk, dv }
}

function dot(a: Floats, i: number, b: Floats, j: number, n: number): number {
  let sum = 0
  for (let d = 0; d < n; d++) sum += a[i + d]! * b[j + d]!
  return sum
}

function add(y: Float64Array, i: number, factor: number, x: Floats, j: number, n: number): void {
  for (let d = 0; d < n; d++) y[i + d]! += factor * x[j + d]!
}
