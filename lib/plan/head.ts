import type { Ledger, Sized } from './ledger.js'
import { bytesOf } from './ledger.js'
import { type Storage, WIDTH } from './ops.js'

// The distillation head (lib/ops/distillHead.ts): no logits of all tokens; the student's and the teacher's logits of one chunk of tokens stand in
// two planes of [vocabulary, chunk] float32, and everything else of a chunk is small beside them. The chunk's size follows from a bound on the
// planes: native/kernels/distillHeadPlan.h on the CPU, distillHeadShape.h on a GPU. Between calls only dhidden remains.
//
//   logits       2 t h V multiply-adds times two for each model; reads hidden and head, the head once a chunk; writes a plane
//   rows         reads both planes, writes dlogits
//   dweight      2 t h V; reads dlogits and hidden; reads and writes dweight (float32) once a chunk
//   dhidden      2 t h V; reads dlogits and the head, once a chunk

/** What the head is asked to do. */
export interface HeadSizes {
  /** All with a label. */
  tokens: number
  hidden: number
  vocab: number
  /** Absent: cross entropy alone. */
  teacher?: { hidden: number; vocab: number }
}

/** The kind of device, and what of it decides how the head divides its work. */
export type HeadDevice =
  | {
      kind: 'cpu'
      /** float32 numbers in a vector: 16 with AVX-512 (the default), 8 with AVX2, 4 otherwise. */
      lanes?: number
    }
  | { kind: 'cuda'; multiprocessors: number }

/** Numbers in a vector of an instruction set, as `Device.describe` names it. */
export const cpuLanes = ({ instructionSet }: { instructionSet: string }): number =>
  instructionSet.startsWith('avx512') ? 16 : instructionSet === 'avx2' ? 8 : 4

/** Bytes that the head works in during a call, and how many chunks of tokens it takes. */
export interface HeadPlan {
  workspace: number
  chunks: number
}

const up = (n: number, to: number): number => Math.ceil(n / to) * to
const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high)

/** How a head divides its work. */
export const headPlan = (sizes: HeadSizes, device: HeadDevice): HeadPlan =>
  device.kind === 'cpu' ? cpuPlan(sizes, device.lanes ?? 16) : cudaPlan(sizes, device.multiprocessors)

/**
 * `Sizes` and `Buffers` of native/kernels/distillHeadPlan.h, at temperature 1 and equal vocabularies, as if every chunk were a pass of its own:
 * what a pass of several chunks keeps beside them stays within the same bound.
 */
function cpuPlan({ tokens, hidden, vocab, teacher }: HeadSizes, width: number): HeadPlan {
  const rows = Math.max(vocab, teacher?.vocab ?? 0)
  const planes = teacher ? 2 : 1
  const [group, block, gradientBlock] = width === 16 ? [16, 144, 144] : [16, 96, 48]
  const columns = up(hidden, 2 * width)
  const inMemory = Math.floor(58_500_000 / (rows * 4 * planes))
  const inCache = Math.max(96, Math.floor(98304 / Math.max(hidden, teacher?.hidden ?? 0)))
  const most = Math.max(1, Math.floor(Math.min(inMemory, inCache, 512) / group))
  const groups = Math.max(1, Math.ceil(tokens / group))
  const chunks = Math.ceil(groups / most)
  const lanes = Math.ceil(groups / chunks) * group
  const slices = Math.min(Math.ceil(vocab / gradientBlock), clamp(Math.floor(2_500_000 / (lanes * columns * 4)), 8, 32))
  const blocks = Math.ceil(rows / block)
  const statistics = Math.max(planes * blocks * 2, teacher ? blocks * 3 : 0)
  const inputs = hidden + 1 + (teacher ? teacher.hidden + 1 : 0) + columns
  const numbers = planes * rows + inputs + statistics + slices * columns + 15 + 4 + 2 * 3
  return { workspace: lanes * numbers * 4, chunks }
}

/** `headTask` of native/kernels/distillHeadShape.h, and what distillHead.cuda.cc allocates by it. */
function cudaPlan({ tokens, hidden, vocab, teacher }: HeadSizes, multiprocessors: number): HeadPlan {
  const columns = up(Math.max(vocab, teacher?.vocab ?? 0), 4)
  const planes = teacher ? 2 : 1
  const inMemory = Math.floor((3 * 2 ** 29) / (columns * 4 * planes) / 128) * 128
  const most = clamp(inMemory, 128, 1536)
  const rows = Math.min(tokens, up(Math.ceil(tokens / Math.ceil(tokens / most)), 128))
  const tiles = Math.ceil(rows / 128) * Math.ceil(hidden / 128)
  const sliceRows = up(Math.ceil(vocab / clamp(Math.floor((2 * multiprocessors) / tiles), 1, 16)), 64)
  const slices = Math.ceil(vocab / sliceRows)
  const statistics = planes * Math.ceil(columns / 128) * 8
  const numbers = planes * columns + hidden + (teacher?.hidden ?? 0) + slices * hidden
  return { workspace: rows * (numbers * 4 + statistics) + tokens * (4 + 32), chunks: Math.ceil(tokens / rows) }
}

/** The head over the student's and the teacher's hidden states: recorded, its loss last. */
export function head(
  ledger: Ledger,
  hidden: Sized,
  sizes: HeadSizes,
  student: Storage,
  teacher: Storage,
  { chunks }: HeadPlan,
): void {
  ledger.part = 'head'
  const { tokens: t, hidden: h, vocab, teacher: other } = sizes
  const [loss, dhidden] = [ledger.take(1, 1, 4), ledger.like(hidden)]
  ledger.take(5, 1, 4)
  const b = WIDTH[student.activations]
  const weight = vocab * h * WIDTH[student.weights]
  const plane = t * vocab * 4
  const logits = t * vocab * b
  const product = 2 * t * h * vocab
  ledger.spend(bytesOf(hidden) + chunks * weight + plane, product, student.activations)
  if (other) {
    const theirs = chunks * other.vocab * other.hidden * WIDTH[teacher.weights] + t * other.vocab * 4
    ledger.spend(t * other.hidden * b + theirs, 2 * t * other.hidden * other.vocab, teacher.activations)
  }
  ledger.spend(plane + (other ? t * other.vocab * 4 : 0) + logits)
  ledger.spend(logits + bytesOf(hidden) + chunks * 2 * vocab * h * 4, product, student.activations)
  ledger.spend(logits + chunks * weight + bytesOf(dhidden), product, student.activations)
  ledger.record({ inputs: [hidden], outputs: [loss], saved: [], backward: () => [dhidden] })
}
