import { attention } from './attention.js'
import { type Bound, bounds } from './bound.js'
import type { Case, Needs } from './case.js'
import { elementwise } from './elementwise.js'
import { head } from './head.js'
import type { Counts, Machine } from './machine.js'
import { products } from './products.js'
import { rowwise } from './rowwise.js'

/** Every case, by the table it belongs to. */
export const GROUPS: Readonly<Record<string, readonly Case[]>> = { elementwise, rowwise, products, attention, head }

/** A kernel at a shape. */
export interface Row {
  kernel: string
  shape: string
  needs: Needs
  counts: Counts
  /** Bytes of all touched sectors over the bytes of inputs and outputs; null where tiles are read again on purpose. */
  footprint: number | null
  /** Sectors that warps touched over the fewest that could hold what they asked for. */
  sectors: number
  /** Passes over shared memory over those without bank conflicts. */
  wavefronts: number
  /** FLOP of the tensor cores, or of float32 instructions, over those of the formula; null where memory is the bound. */
  flops: number | null
  spills: number
  bounds: Record<string, Bound>
}

/** What every row is held to. */
export const LIMITS = { footprint: 1.02, sectors: 1.05, wavefronts: 1.02, spills: 0, findings: 0 }

/** Counts the kernels of a case. @throws Error when not exactly one of them has a name that it tells */
export async function count(machine: Machine, c: Case): Promise<Row[]> {
  const { kernels, result } = await machine.count((device) => c.run(device))
  return result.map((needs) => {
    const entry = new RegExp(`^${needs.kernel}(F32|Bf16|Any|16|32)*$`)
    const [found, ...others] = [...kernels.keys()].filter((name) => entry.test(name))
    if (!found || others.length > 0)
      throw new Error(`${c.shape}: ${needs.kernel} is not one of the kernels: ${[...kernels.keys()].join(', ')}`)
    return row(found, c.shape, needs, kernels.get(found)!)
  })
}

function row(kernel: string, shape: string, needs: Needs, counts: Counts): Row {
  const work = counts.multiplyAdds > 0 ? 2 * counts.multiplyAdds : 64 * counts.float32
  return {
    kernel,
    shape,
    needs,
    counts,
    footprint: needs.bytes === undefined ? null : counts.footprint / needs.bytes,
    sectors: counts.sectors / counts.idealSectors,
    wavefronts: counts.idealWavefronts === 0 ? 1 : counts.wavefronts / counts.idealWavefronts,
    flops: needs.flops === undefined ? null : work / needs.flops,
    spills: Math.max(...Object.values(counts.stackBytes)),
    bounds: bounds(counts),
  }
}

/** The limits that a row misses, in words; empty where it holds all that apply to it. */
export function misses({ needs, counts, footprint, sectors, wavefronts, spills }: Row): string[] {
  const moves = needs.bytes !== undefined
  const held: [keyof typeof LIMITS, number][] = [
    ['spills', spills],
    ['findings', counts.findings.length],
    ...(moves
      ? ([
          ['footprint', footprint!],
          ['sectors', sectors],
        ] as const)
      : ([['wavefronts', wavefronts]] as const)),
  ].map(([name, value]) => [name as keyof typeof LIMITS, value as number])
  return held
    .filter(([name, value]) => value > LIMITS[name] && needs.except?.bound !== name)
    .map(([name, value]) => `${name} ${value.toFixed(3)} > ${LIMITS[name]}`)
}
