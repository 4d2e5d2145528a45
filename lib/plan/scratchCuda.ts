import type { FloatDType } from '../tensor/tensor.js'
import { clamp, up } from './headCpu.js'

// Bytes that CUDA kernels work in beside their operands (`Context::workspace`), but for the distillation head's (head.ts). A kernel gives its own back
// when it has run, so what a step must have is the largest. native/kernels/<op>.cuda.cc decides how much, as is told here.

/** A tile of a product: its sides, its depth, and multiply-adds of a multiprocessor in a cycle. */
interface Tile {
  m: number
  n: number
  k: number
  rate: number
}

const TENSOR_TILES: readonly Tile[] = [
  { m: 128, n: 128, k: 32, rate: 1000 },
  { m: 128, n: 64, k: 32, rate: 850 },
  { m: 64, n: 64, k: 64, rate: 650 },
]
const FLOAT_TILES: readonly Tile[] = [
  { m: 128, n: 128, k: 16, rate: 64 },
  { m: 64, n: 64, k: 16, rate: 48 },
]

/** y [m, n] from a reduction of length k over two dense matrices. */
export interface Product {
  m: number
  n: number
  k: number
  /** Of the operands, and how many elements lie between their rows. */
  dtypes: readonly [FloatDType, FloatDType]
  strides: readonly [number, number]
  transposeA?: boolean
  transposeB?: boolean
}

/** The workspaces of a GPU's kernels. */
export class CudaScratch {
  constructor(readonly multiprocessors: number) {}

  /** Sums of the parts that a product with a small output and a long reduction is cut into (matmul.cuda.cc). */
  matmul({ m, n, k, dtypes, strides, transposeA = false, transposeB = false }: Product): number {
    const tensor = dtypes.every((d) => d === 'bfloat16')
    const packs = strides.every((ld) => ld % (tensor ? 8 : 4) === 0)
    if (!transposeA && transposeB && m <= 16 && packs) return 0
    const tiles = tensor && packs ? TENSOR_TILES : FLOAT_TILES
    let best = { cycles: Number.POSITIVE_INFINITY, parts: 1, tile: tiles[0]! }
    for (const tile of tiles)
      for (let parts = 1; parts <= 32 && (parts === 1 || (k >= parts * 128 && parts * m * n <= 2 ** 24)); parts++) {
        const cycles = this.#cycles(tile, m, n, k, parts)
        if (cycles < best.cycles) best = { cycles, parts, tile }
      }
    const depth = Math.max(best.tile.k, up(Math.ceil(k / best.parts), best.tile.k))
    const parts = Math.ceil(k / depth) // rounding may leave fewer
    return parts > 1 ? parts * m * up(n, 4) * 4 : 0
  }

  #cycles({ m, n, k, rate }: Tile, rows: number, cols: number, depth: number, parts: number): number {
    const most = Math.ceil((Math.ceil(rows / m) * Math.ceil(cols / n) * parts) / this.multiprocessors)
    const product = (most * m * n * (up(Math.ceil(depth / parts), k) + 128)) / (most < 2 ? 0.5 * rate : rate)
    return parts === 1 ? product : product + 3000 + (parts * rows * cols * 8) / (12 * this.multiprocessors)
  }

  /** Gradients of a norm's weight by block; `threads` at most in one (rmsNorm.cuda.cc 1024, layerNorm.cuda.cc 512). */
  normBackward(rows: number, cols: number, most: 512 | 1024): number {
    const width = cols % 4 === 0 ? 4 : 1
    const threads = Math.min(clamp(up(Math.ceil(cols / (2 * width)), 32), 32, 1024), most)
    return Math.min(rows, this.multiprocessors * Math.floor(most / threads)) * cols * 4
  }

  /** dout times out of every query (attentionBackward.cuda.cc). */
  attentionBackward(heads: number, tokens: number): number {
    return Math.max(1, heads * tokens) * 4
  }

  /** Ids in order, by which the gradients of gathered rows are added (sortIds.cuda.cc). */
  sortedIds(count: number): number {
    return (512 * Math.ceil(count / 2048) + 4 * count) * 4
  }

  /** What each row contributes (crossEntropy.cuda.cc). */
  crossEntropy(rows: number): number {
    return (rows + 1) * 16
  }

  /** Squares by block (gradNorm.cuda.cc). */
  gradNorm(): number {
    return 512 * 8
  }
}
