import { type CpuHead, clamp, cpuPlan, up } from './headCpu.js'
import type { Ledger, Sized } from './ledger.js'
import { bytesOf } from './ledger.js'
import { type Storage, WIDTH } from './ops.js'

// The distillation head (lib/ops/distillHead.ts): no logits of all tokens; the student's and the teacher's logits of one chunk of tokens stand in
// two planes of [vocabulary, chunk] float32, and everything else of a chunk is small beside them. The chunk's size follows from a bound on the
// planes: headCpu.ts on the CPU, distillHeadShape.h on a GPU. A pass is as many chunks as one product with the weights takes the gradients of.
// Between calls only dhidden remains.
//
//   logits       2 t h V multiply-adds times two for each model; reads hidden and head, the head once a chunk; writes a plane
//   rows         reads both planes, writes dlogits
//   dweight      2 t h V; reads dlogits and hidden; reads and writes dweight (float32) once a pass
//   dhidden      2 t h V; reads dlogits and the head, once a pass

/** One model's side of the head. */
export interface HeadSide {
  hidden: number
  vocab: number
  stored: Storage
}

/** What the head is asked to do, at temperature 1. */
export interface HeadSizes extends HeadSide {
  /** All with a label. */
  tokens: number
  /** Absent: cross entropy alone. */
  teacher?: HeadSide
  /** Whether gradients are wanted; default true. Validation wants none. */
  gradients?: boolean
}

/** The kind of device, and what of it decides how the head divides its work. */
export type HeadDevice = CpuHead | { kind: 'cuda'; multiprocessors: number }

/** Bytes that the head works in during a call, and how many chunks of tokens and passes over the gradients it takes. */
export interface HeadPlan {
  workspace: number
  chunks: number
  passes: number
}

/** How a head divides its work. */
export const headPlan = (sizes: HeadSizes, device: HeadDevice): HeadPlan =>
  device.kind === 'cpu' ? cpuPlan(sizes, device) : cudaPlan(sizes, device.multiprocessors)

/** `headTask` of native/kernels/distillHeadShape.h, and what distillHead.cuda.cc allocates by it. */
function cudaPlan({ tokens, hidden, vocab, teacher, gradients = true }: HeadSizes, multiprocessors: number): HeadPlan {
  const columns = up(Math.max(vocab, teacher?.vocab ?? 0), 4)
  const planes = teacher ? 2 : 1
  const inMemory = Math.floor((3 * 2 ** 29) / (columns * 4 * planes) / 128) * 128
  const most = clamp(inMemory, 128, 1536)
  const rows = Math.min(tokens, up(Math.ceil(tokens / Math.ceil(tokens / most)), 128))
  const tiles = Math.ceil(rows / 128) * Math.ceil(hidden / 128)
  const sliceRows = up(Math.ceil(vocab / clamp(Math.floor((2 * multiprocessors) / tiles), 1, 16)), 64)
  const slices = Math.ceil(vocab / sliceRows)
  const statistics = planes * Math.ceil(columns / 128) * 8
  const numbers = planes * columns + hidden + (teacher?.hidden ?? 0) + (gradients ? slices * hidden : 0)
  const chunks = Math.ceil(tokens / rows)
  return { workspace: rows * (numbers * 4 + statistics) + tokens * (4 + 32) + 16, chunks, passes: chunks }
}

/** The head over the student's and the teacher's hidden states. Where the ledger records, so is its loss, last, and gradients are computed. */
export function head(ledger: Ledger, hidden: Sized, sizes: HeadSizes, { chunks, passes }: HeadPlan): void {
  const { tokens: t, hidden: h, vocab, stored, teacher } = sizes
  ledger.part = 'tokens'
  const loss = ledger.take(1, 1, 4)
  ledger.take(5, 1, 4)
  ledger.part = 'student backward'
  const dhidden = ledger.recording ? ledger.like(hidden) : null
  ledger.part = 'head'
  const weight = vocab * h * WIDTH[stored.weights]
  const plane = t * vocab * 4
  const product = 2 * t * h * vocab
  ledger.spend(bytesOf(hidden) + chunks * weight + plane, product, stored.activations)
  if (teacher) {
    const { hidden: th, vocab: tv, stored: theirs } = teacher
    const read = t * th * WIDTH[theirs.activations] + chunks * tv * th * WIDTH[theirs.weights]
    ledger.spend(read + t * tv * 4, 2 * t * th * tv, theirs.activations)
  }
  const dlogits = dhidden ? t * vocab * WIDTH[stored.activations] : 0
  ledger.spend(plane + (teacher ? t * teacher.vocab * 4 : 0) + dlogits)
  if (!dhidden) return
  ledger.spend(dlogits + bytesOf(hidden) + passes * 2 * vocab * h * 4, product, stored.activations)
  ledger.spend(dlogits + passes * weight + bytesOf(dhidden), product, stored.activations)
  ledger.record({ inputs: [hidden], outputs: [loss], saved: [], backward: () => [dhidden] })
}
