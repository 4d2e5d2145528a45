import { CARDS, type Card } from '../../lib/plan/cards.js'
import { type Bound, bound, type Work } from './bound.js'
import { type HeadSizes, runHead } from './head.js'
import type { Machine } from './machine.js'

/** Share of the H100's tensor peak that `mma.sync` was measured at, on average: Luo et al. 2025, arXiv 2501.12084, section 6.2 (an H800). */
export const MMA_SYNC_SHARE = 0.629

// The distillation head at sizes that the machine cannot run. What crosses the memory bus and what the tensor cores multiply follow from the
// sizes alone; shared memory and instructions are linear in two amounts of work, whose factors come from two small runs. All of it is held
// against what the machine counts at three further sizes.

/** bfloat16, all tokens labelled; as in published comparisons of fused Jensen-Shannon heads. */
export const PUBLISHED_SIZES: HeadSizes = { tokens: 8192, hidden: 4096, teacherHidden: 4096, vocab: 128_256 }

/** Milliseconds that others measured or derived for those sizes on an H100. */
export const PUBLISHED = [
  ['eager PyTorch, measured', 195],
  ["Liger's fused JSD, measured", 183],
  ['best public kernel, measured', 60.6],
  ['floor of the matrix products, derived', 49.2],
] as const

const square = (tokens: number, hidden: number, vocab: number): HeadSizes => ({
  tokens,
  hidden,
  teacherHidden: hidden,
  vocab,
})
const FITTED = [square(128, 128, 2048), square(256, 256, 4096)] as const
const CHECKED = [
  { tokens: 256, hidden: 128, teacherHidden: 256, vocab: 4096 },
  { tokens: 384, hidden: 256, teacherHidden: 128, vocab: 2048 },
  { tokens: 128, hidden: 384, teacherHidden: 384, vocab: 6144 },
] as const

const KERNELS = {
  gather: 'distillHead_gather',
  logits: 'distillHeadMma_logits',
  rows: 'distillHead_rows',
  weightGradient: 'distillHeadMma_weightGradient',
  hiddenGradient: 'distillHeadMma_hiddenGradient',
  scatter: 'distillHead_scatter',
} as const
type Step = keyof typeof KERNELS
const STEPS = Object.keys(KERNELS) as Step[]

/** What follows from the sizes: exact counts, and the two amounts of work that the others are linear in. */
interface Amounts {
  footprint: number
  multiplyAdds: number
  work: readonly [number, number]
}

const up = (n: number, to: number): number => Math.ceil(n / to) * to

/** Rows of the logits in a chunk, and slices of the vocabulary: native/kernels/distillHeadShape.h. */
function plan({ tokens, hidden, vocab }: HeadSizes, multiprocessors: number) {
  const inMemory = Math.floor((3 * 2 ** 29) / (up(vocab, 4) * 8) / 128) * 128
  const most = Math.min(Math.max(inMemory, 128), 1536)
  const even = Math.ceil(tokens / Math.ceil(tokens / most))
  const chunkRows = Math.min(tokens, up(even, 128))
  const tiles = Math.ceil(chunkRows / 128) * Math.ceil(hidden / 128)
  const wanted = Math.min(Math.max(Math.floor((2 * multiprocessors) / tiles), 1), 16)
  const sliceRows = up(Math.ceil(vocab / wanted), 64)
  return { chunkRows, sliceRows, slices: Math.ceil(vocab / sliceRows) }
}

/** Tiles of 128 x 128 with a reduction of `depth` each, 32 at a time. */
const tiled = (rows: number, cols: number, depth: number, footprint: number): Amounts => {
  const [blocks, steps] = [Math.ceil(rows / 128) * Math.ceil(cols / 128), Math.ceil(depth / 32)]
  return { footprint, multiplyAdds: blocks * steps * 128 * 128 * 32, work: [blocks * steps, blocks] }
}

const sum = (parts: readonly Amounts[]): Amounts =>
  parts.reduce((a, b) => ({
    footprint: a.footprint + b.footprint,
    multiplyAdds: a.multiplyAdds + b.multiplyAdds,
    work: [a.work[0] + b.work[0], a.work[1] + b.work[1]],
  }))

/** The amounts of every step over all chunks. */
function amounts(sizes: HeadSizes, multiprocessors: number): Record<Step, Amounts> {
  const { tokens, hidden, teacherHidden, vocab } = sizes
  const { chunkRows, sliceRows, slices } = plan(sizes, multiprocessors)
  const chunks: Record<Step, Amounts>[] = []
  for (let first = 0; first < tokens; first += chunkRows) {
    const rows = Math.min(chunkRows, tokens - first)
    const tiles = Math.ceil(vocab / 128)
    const [plane, stats, dlogits] = [rows * vocab * 4, rows * tiles * 8, rows * vocab * 2]
    const moved = (bytes: number, work: readonly [number, number]): Amounts => ({
      footprint: bytes,
      multiplyAdds: 0,
      work,
    })
    const sides = [hidden, teacherHidden]
    chunks.push({
      gather: sum(sides.map((size) => moved(2 * rows * size * 2, [rows * Math.ceil(size / 128), rows]))),
      logits: sum(sides.map((size) => tiled(rows, vocab, size, (rows + vocab) * size * 2 + plane + stats))),
      rows: moved(2 * plane + 2 * stats + dlogits + rows * 40, [rows * Math.ceil(vocab / 128), rows]),
      weightGradient: tiled(vocab, hidden, rows, dlogits + rows * hidden * 2 + 2 * vocab * hidden * 4),
      hiddenGradient: sum(
        Array.from({ length: slices }, (_, i) => {
          const depth = Math.min(sliceRows, vocab - i * sliceRows)
          return tiled(rows, hidden, depth, (rows + hidden) * depth * 2 + rows * hidden * 4)
        }),
      ),
      scatter: moved(rows * hidden * (4 * slices + 2), [rows * Math.ceil(hidden / 128) * slices, rows]),
    })
  }
  return Object.fromEntries(STEPS.map((step) => [step, sum(chunks.map((c) => c[step]))])) as Record<Step, Amounts>
}

const LINEAR = ['wavefronts', 'issues', 'float32', 'special'] as const
type Linear = (typeof LINEAR)[number]
type Factors = Record<Step, Record<Linear, readonly [number, number]>>

interface Run {
  of: Record<Step, Amounts>
  counts: Record<Step, Work>
}

/** The factors of count = f0 work[0] + f1 work[1] that hold for both runs. */
function factorsOf(a: Run, b: Run): Factors {
  const factors = {} as Factors
  for (const step of STEPS) {
    const [[a0, a1], [b0, b1]] = [a.of[step].work, b.of[step].work]
    const determinant = a0 * b1 - a1 * b0
    const solve = (name: Linear) => {
      const [x, y] = [a.counts[step][name], b.counts[step][name]]
      return [(x * b1 - y * a1) / determinant, (a0 * y - b0 * x) / determinant] as const
    }
    factors[step] = Object.fromEntries(LINEAR.map((name) => [name, solve(name)])) as Factors[Step]
  }
  return factors
}

/** What the formula says of every step. */
function predict(sizes: HeadSizes, multiprocessors: number, factors: Factors): Record<Step, Work> {
  const of = amounts(sizes, multiprocessors)
  const work = (step: Step): Work => {
    const { footprint, multiplyAdds, work } = of[step]
    const linear = LINEAR.map((name) => {
      const [f0, f1] = factors[step][name]
      return [name, f0 * work[0] + f1 * work[1]]
    })
    return { footprint, multiplyAdds, ...(Object.fromEntries(linear) as Record<Linear, number>) }
  }
  return Object.fromEntries(STEPS.map((step) => [step, work(step)])) as Record<Step, Work>
}

/** How far the formula is from the machine's counts at a size: the largest relative difference of each, over all steps. */
export interface Check {
  sizes: HeadSizes
  differences: Record<keyof Work, number>
}

export interface HeadBound {
  checks: Check[]
  steps: { step: string; work: Work; bounds: Record<string, Bound> }[]
  /** Seconds on each card, the steps one after another. */
  seconds: Record<string, number>
  /** The same on an H100 with products at the share of its peak that `mma.sync` was measured at. */
  secondsWithMmaSync: number
}

const MACHINE_MULTIPROCESSORS = 108 // the machine poses as an A100

/** Fits the formula, checks it, and evaluates it at the published sizes. */
export async function headBound(machine: Machine): Promise<HeadBound> {
  const counted = async (sizes: HeadSizes): Promise<Record<Step, Work>> => {
    const { kernels } = await machine.count((device) => runHead(device, sizes, 'bfloat16'))
    const of = (step: Step) => [...kernels].find(([name]) => name.startsWith(KERNELS[step]))![1]
    const works = STEPS.map((step): [Step, Work] => [step, of(step)])
    return Object.fromEntries(works) as Record<Step, Work>
  }
  const fitted = []
  for (const sizes of FITTED) fitted.push({ of: amounts(sizes, MACHINE_MULTIPROCESSORS), counts: await counted(sizes) })
  const factors = factorsOf(fitted[0]!, fitted[1]!)
  const checks: Check[] = []
  for (const sizes of CHECKED)
    checks.push({
      sizes,
      differences: differences(await counted(sizes), predict(sizes, MACHINE_MULTIPROCESSORS, factors)),
    })
  const at = (card: Card) => predict(PUBLISHED_SIZES, card.multiprocessors, factors)
  const steps = STEPS.map((step) => ({
    step: KERNELS[step],
    work: predict(PUBLISHED_SIZES, MACHINE_MULTIPROCESSORS, factors)[step],
    bounds: Object.fromEntries(CARDS.map((card) => [card.name, bound(at(card)[step], card)])),
  }))
  const seconds = Object.fromEntries(
    CARDS.map(({ name }) => [name, steps.reduce((total, s) => total + s.bounds[name]!.seconds, 0)]),
  )
  const h100 = CARDS.find(({ name }) => name === 'H100')!
  const products = (work: Work) => (2 * work.multiplyAdds) / (MMA_SYNC_SHARE * h100.tensor)
  const secondsWithMmaSync = steps.reduce((n, s) => n + Math.max(s.bounds.H100!.seconds, products(s.work)), 0)
  return { checks, steps, seconds, secondsWithMmaSync }
}

function differences(counted: Record<Step, Work>, predicted: Record<Step, Work>): Record<keyof Work, number> {
  const names = ['footprint', 'multiplyAdds', ...LINEAR] as const
  const worst = (name: keyof Work) =>
    Math.max(
      ...STEPS.map((step) => Math.abs(predicted[step][name] - counted[step][name]) / Math.max(1, counted[step][name])),
    )
  return Object.fromEntries(names.map((name) => [name, worst(name)])) as Record<keyof Work, number>
}
