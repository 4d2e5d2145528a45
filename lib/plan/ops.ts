import type { FloatDType } from '../tensor/tensor.js'
import { bytesOf, type Ledger, type Sized } from './ledger.js'
import type { CudaScratch, Product } from './scratchCuda.js'

// What each op of lib/ops allocates, keeps for its backward rule and computes. t: tokens (rows), b: bytes of an element of the activations.
//
//   op            outputs                  kept besides   its backward rule allocates        products (multiply-adds)
//   embedding     t h 4                                                                      -
//   norm          t h b (sum: t h 4)       t 4 (layer     t h 4; where activations are       -
//                                          norm: t 12)    bfloat16 and sum is made t h b
//   linear        t n b                    z: t n b with  t k b; with an activation t n b    t n k; backward twice that
//                                          an activation
//   columns       t n b                                   t k b, k: columns of its input     -
//   rope          t (q + k) b                             t (q + k) b                        -
//   attention     t q b                    t heads 4      t (q + 2 k) b                      2 headDim heads pairs; backward 5 headDim heads pairs
//   gatedUnit     t f b                                   2 t f b                            -
//   pool          sequences h b                           t h b                              -
//   concat        t (n + m) b                             t (n + m) b                        -
//   multiply      t n b                                   2 t n b                            -
//
// Gradients of weights are added in place into memory that the optimiser holds, so they are no part of this. Bytes that a kernel moves: each
// operand once, a gradient that is added to twice.

/** Bytes of an element. */
export const WIDTH = { float32: 4, bfloat16: 2 } as const

/** How a model's weights and activations are stored. */
export interface Storage {
  weights: FloatDType
  activations: FloatDType
}

const sum = (...tensors: readonly (Sized | null | undefined)[]): number =>
  tensors.reduce((n, t) => n + (t ? bytesOf(t) : 0), 0)

/** The ops of one model over a ledger. */
export class Ops {
  readonly width: number
  readonly #weightWidth: number

  constructor(
    readonly ledger: Ledger,
    readonly storage: Storage,
    /** Of a GPU: what its kernels work in. */
    readonly scratch: CudaScratch | null = null,
  ) {
    this.width = WIDTH[storage.activations]
    this.#weightWidth = WIDTH[storage.weights]
  }

  /** lib/ops/embedding.ts, to float32. */
  embedding(tokens: number, hidden: number): Sized {
    const { ledger } = this
    const y = ledger.take(tokens, hidden, 4)
    ledger.spend(tokens * hidden * this.#weightWidth + bytesOf(y))
    const backward = () => {
      ledger.spend(3 * bytesOf(y))
      ledger.workIn(this.scratch?.sortedIds(tokens))
      return []
    }
    ledger.record({ inputs: [], outputs: [y], saved: [], backward })
    return y
  }

  /** rmsNorm, addRmsNorm, layerNorm and addLayerNorm; `kept`: numbers a row that the backward rule needs. */
  norm(x: Sized | null, stream: Sized, kept: 1 | 3, { width = this.width, rows = stream.rows } = {}) {
    const { ledger } = this
    const y = ledger.take(stream.rows, stream.cols, width)
    const added = x ? ledger.like(stream) : null
    const saved = ledger.recording ? [ledger.take(rows, kept, 4)] : []
    ledger.spend(sum(x, stream, y, added))
    ledger.record({
      inputs: [x, stream],
      outputs: added ? [y, added] : [y],
      saved,
      backward: ([dy = null, dsum = null]) => {
        const dh = ledger.like(stream)
        const dx = x && stream.width !== width ? ledger.take(x.rows, x.cols, width) : null
        ledger.spend(sum(dy, dsum, stream, dh, dx))
        const per = (stream.rows * stream.cols) / rows
        ledger.workIn(this.scratch?.normBackward(rows, per, kept === 1 ? 1024 : 512))
        return [dx ?? dh, dh]
      },
    })
    return { y, sum: added ?? stream }
  }

  /** lib/ops/linear.ts. */
  linear(x: Sized, n: number, { activation = false, width = this.width } = {}): Sized {
    const { ledger } = this
    const { rows, cols: k } = x
    const y = ledger.take(rows, n, width)
    const saved = ledger.recording && activation ? [ledger.like(y)] : []
    const dtype = this.storage.activations
    const weight = n * k * this.#weightWidth
    ledger.spend(sum(x, y, ...saved) + weight, 2 * rows * n * k, dtype)
    const { activations, weights } = this.storage
    const outer: FloatDType = y.width === 4 ? 'float32' : activations
    const product = (p: Product) => this.scratch?.matmul(p)
    ledger.workIn(product({ m: rows, n, k, dtypes: [activations, weights], strides: [k, k], transposeB: true }))
    ledger.record({
      inputs: [x],
      outputs: [y],
      saved,
      backward: ([dy]) => {
        const dz = activation ? ledger.like(y) : dy!
        if (activation) ledger.spend(3 * bytesOf(y))
        const dx = ledger.like(x)
        ledger.spend(sum(dz, dx) + weight, 2 * rows * n * k, dtype)
        ledger.spend(sum(dz, x) + 2 * n * k * 4, 2 * rows * n * k, dtype)
        ledger.workIn(
          product({ m: rows, n: k, k: n, dtypes: [outer, weights], strides: [n, k] }),
          product({ m: n, n: k, k: rows, dtypes: [outer, activations], strides: [n, k], transposeA: true }),
        )
        if (activation) ledger.give(dz)
        return [dx]
      },
    })
    return y
  }

  /** A copy in the activations' dtype. */
  cast(x: Sized): Sized {
    return this.#moved(x, this.ledger.take(x.rows, x.cols, this.width))
  }

  /** The pooled states of `sequences`, or their rows by index. */
  pool(x: Sized, sequences: number): Sized {
    return this.#moved(x, this.ledger.take(sequences, x.cols, x.width))
  }

  /** y from x, whose whole gradient comes from y's. */
  #moved(x: Sized, y: Sized): Sized {
    const { ledger } = this
    ledger.spend(2 * bytesOf(y))
    const backward = ([dy]: readonly (Sized | null)[]) => {
      const dx = ledger.like(x)
      ledger.spend(sum(dy, dx))
      return [dx]
    }
    ledger.record({ inputs: [x], outputs: [y], saved: [], backward })
    return y
  }

  /** Two tensors side by side. */
  concat(a: Sized, b: Sized): Sized {
    return this.#joined(a, b, a.cols + b.cols)
  }

  /** Element by element. */
  multiply(a: Sized, b: Sized): Sized {
    return this.#joined(a, b, a.cols)
  }

  #joined(a: Sized, b: Sized, cols: number): Sized {
    const { ledger } = this
    const y = ledger.take(a.rows, cols, a.width)
    ledger.spend(sum(a, b, y))
    const backward = () => {
      ledger.spend(2 * sum(a, b) + bytesOf(y))
      return [ledger.like(a), ledger.like(b)]
    }
    ledger.record({ inputs: [a, b], outputs: [y], saved: [], backward })
    return y
  }

  /** lib/ops/rope.ts. */
  rope(q: Sized, k: Sized): { q: Sized; k: Sized } {
    const { ledger } = this
    const rotated = { q: ledger.like(q), k: ledger.like(k) }
    ledger.spend(2 * sum(q, k))
    ledger.record({
      inputs: [q, k],
      outputs: [rotated.q, rotated.k],
      saved: [],
      backward: () => {
        ledger.spend(2 * sum(q, k))
        return [ledger.like(q), ledger.like(k)]
      },
    })
    return rotated
  }

  /** The same of one projection of `qCols` and twice `kCols` columns; the values are copied. */
  ropeQkvPacked(qkv: Sized, qCols: number, kCols: number): { q: Sized; k: Sized; v: Sized } {
    const { ledger } = this
    const take = (cols: number) => ledger.take(qkv.rows, cols, qkv.width)
    const [q, k, v] = [take(qCols), take(kCols), take(kCols)]
    ledger.spend(2 * bytesOf(qkv))
    ledger.record({
      inputs: [qkv],
      outputs: [q, k, v],
      saved: [],
      backward: () => {
        ledger.spend(2 * bytesOf(qkv))
        return [ledger.like(qkv)]
      },
    })
    return { q, k, v }
  }

  /** Attention of one projection of queries, keys and values of as many heads, rotated first: the rotated two are kept. */
  attentionQkvPacked(qkv: Sized, heads: number, pairs: number): Sized {
    const { ledger } = this
    const cols = qkv.cols / 3
    const out = ledger.take(qkv.rows, cols, qkv.width)
    const lse = ledger.recording ? [ledger.take(heads, qkv.rows, 4)] : []
    const rotated = ledger.take(qkv.rows, 2 * cols, qkv.width)
    const product = 2 * cols * pairs
    const dtype = this.storage.activations
    ledger.spend(2 * bytesOf(rotated) + sum(qkv, out), 2 * product, dtype)
    ledger.record({
      inputs: [qkv],
      outputs: [out],
      saved: [...lse, rotated],
      backward: ([dout]) => {
        const dqkv = ledger.like(qkv)
        ledger.spend(2 * bytesOf(qkv) + 2 * bytesOf(rotated) + sum(out, dout), 5 * product, dtype)
        ledger.workIn(this.scratch?.attentionBackward(heads, qkv.rows))
        return [dqkv]
      },
    })
    if (!ledger.recording) ledger.give(rotated)
    return out
  }

  /** lib/ops/attention.ts. @param pairs of a query and a key that it sees */
  attention(q: Sized, k: Sized, v: Sized, heads: number, pairs: number): Sized {
    const { ledger } = this
    const out = ledger.like(q)
    const saved = ledger.recording ? [ledger.take(heads, q.rows, 4)] : []
    const product = 2 * q.cols * pairs
    const dtype = this.storage.activations
    ledger.spend(sum(q, k, v, out), 2 * product, dtype)
    ledger.record({
      inputs: [q, k, v],
      outputs: [out],
      saved,
      backward: ([dout]) => {
        const grads = [q, k, v].map(ledger.like)
        ledger.spend(2 * sum(q, k, v) + sum(out, dout), 5 * product, dtype)
        ledger.workIn(this.scratch?.attentionBackward(heads, q.rows))
        return grads
      },
    })
    return out
  }

  /** swiglu and geglu of gate and up apart, or side by side in one tensor of twice the columns. */
  gatedUnit(cols: number, ...inputs: readonly Sized[]): Sized {
    const { ledger } = this
    const y = ledger.take(inputs[0]!.rows, cols, this.width)
    ledger.spend(sum(...inputs, y))
    ledger.record({
      inputs,
      outputs: [y],
      saved: [],
      backward: ([dy]) => {
        ledger.spend(2 * sum(...inputs) + sum(dy))
        return inputs.map(ledger.like)
      },
    })
    return y
  }
}
