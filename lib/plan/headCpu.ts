import type { HeadPlan, HeadSizes } from './head.js'
import { WIDTH } from './ops.js'

// How the distillation head divides its work on the CPU, number for number as native/kernels/distillHeadPlan.h does. Tokens lie in lanes of vectors,
// in groups of 16; a chunk is as many as two planes of logits have room for, a pass as many chunks as their dlogits have room for beside them.

/** What of a processor decides how the head divides its work. */
export interface CpuHead {
  kind: 'cpu'
  /** As `Device.describe` names it; default avx512bf16. */
  instructionSet?: string
  /** Each works in memory of its own beside what all share; default 1. */
  threads?: number
}

/** The least multiple of `to` that is no less than `n`. */
export const up = (n: number, to: number): number => Math.ceil(n / to) * to

export const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high)

const GROUP = 16
const PLANE_BYTES = 58_500_000
const PARTIAL_BYTES = 2_500_000

/** Rows of tiles and blocks, by the float32 numbers in a vector. */
const BLOCKS = {
  16: { tileRows: 9, block: 144, gradientBlock: 144 },
  8: { tileRows: 6, block: 96, gradientBlock: 48 },
  4: { tileRows: 6, block: 96, gradientBlock: 48 },
} as const

const lanesOf = (instructionSet: string): keyof typeof BLOCKS =>
  instructionSet.startsWith('avx512') ? 16 : instructionSet === 'avx2' ? 8 : 4

/** The workspace is `device.memory().workspace` of a device that has run nothing larger: what threads share and what each has, in steps of 64 KiB. */
export function cpuPlan(sizes: HeadSizes, { instructionSet = 'avx512bf16', threads = 1 }: CpuHead): HeadPlan {
  const { hidden, vocab, teacher, stored, gradients = true } = sizes
  const width = lanesOf(instructionSet)
  const { tileRows, block, gradientBlock } = BLOCKS[width]
  const both = stored.activations === 'bfloat16' && stored.weights === 'bfloat16'
  const dlogit = instructionSet === 'avx512bf16' && both && hidden % 2 === 0 ? 2 : 4 // bytes: bfloat16 where its pairs are multiplied
  const groups = Math.max(1, Math.ceil(sizes.tokens / GROUP))
  const { chunks, passes } = divide(sizes, groups, dlogit)
  const lanes = Math.ceil(groups / chunks) * GROUP
  const passLanes = Math.ceil(chunks / passes) * lanes
  const rows = Math.max(vocab, teacher?.vocab ?? 0)
  const columns = up(hidden, 2 * width)
  const blocks = Math.ceil(rows / block)
  const room = Math.floor(PARTIAL_BYTES / (passLanes * columns * 4))
  const slices = Math.min(Math.ceil(vocab / gradientBlock), clamp(room, 8, 32))
  const buffer = (numbers: number, bytes = 4): number => up(numbers * bytes, 64)
  const planes = buffer(rows * lanes) * (teacher ? 2 : 1)
  const inputs = buffer((hidden + 1) * lanes) + (teacher ? buffer((teacher.hidden + 1) * lanes) : 0)
  const pass = buffer(columns * passLanes) + buffer(vocab * (passLanes - lanes), dlogit)
  const statistics = buffer(blocks * 2 * lanes) * (teacher ? 2 : 1)
  const sums = teacher ? buffer(blocks * 3 * lanes) : 0 // in their place
  const constants = 18 * buffer(lanes) + 3 * buffer(lanes, 8) + buffer(passLanes)
  const shared = planes + inputs + pass + Math.max(statistics, sums) + buffer(slices * columns * passLanes) + constants
  const packed = tileRows * Math.max(hidden, teacher?.hidden ?? 0) + width
  const local = 4 * Math.max(packed, gradients ? gradientBlock * (passLanes + 2 * width) : 0)
  return { workspace: up(shared, 65536) + threads * up(local, 65536), chunks, passes }
}

/** The division that moves the fewest bytes of weights and their gradients, of all whose planes and dlogits have room. */
function divide({ hidden, vocab, teacher, stored, gradients = true }: HeadSizes, groups: number, dlogit: number) {
  const student = hidden * WIDTH[stored.weights]
  const chunkBytes = student + (teacher ? teacher.hidden * WIDTH[teacher.stored.weights] : 0)
  const passBytes = gradients ? student + 8 * hidden : 0
  const planes = Math.max(vocab, teacher?.vocab ?? 0) * 4 * (teacher ? 2 : 1) * GROUP
  const dlogits = vocab * dlogit * GROUP
  const inCache = Math.max(96, Math.floor(98304 / Math.max(hidden, teacher?.hidden ?? 0)))
  const most = Math.floor(Math.min(inCache, 512) / GROUP)
  let best = { chunks: 0, passes: 0, moved: Number.POSITIVE_INFINITY }
  for (let size = 1; size <= Math.max(1, Math.min(most, Math.floor(PLANE_BYTES / planes))); size++) {
    const chunks = Math.ceil(groups / size)
    const more = Math.min(Math.floor((PLANE_BYTES - size * planes) / (size * dlogits)), Math.floor(most / size) - 1)
    const parts = 1 + (gradients ? Math.max(0, more) : 0)
    const passes = Math.ceil(chunks / parts)
    const moved = chunks * chunkBytes + passes * passBytes
    if (moved <= best.moved) best = { chunks, passes, moved }
  }
  return best
}
