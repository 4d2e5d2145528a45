import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Device } from '../../lib/tensor/device.js'

/** What the machine counted of a kernel, over some launches (test/simt/README.md says what each is). */
export interface Counts {
  launches: number
  /** Warp instructions of the PTX: all, on float32, of special functions. */
  issues: number
  float32: number
  special: number
  sectors: number
  idealSectors: number
  wavefronts: number
  idealWavefronts: number
  /** Bytes of the sectors that were read or written, each once a launch. */
  footprint: number
  /** Of tensor cores. */
  multiplyAdds: number
  /** By architecture: what the compiler made of it, and the share of a multiprocessor's threads that are there at once. */
  registers: Record<string, number>
  stackBytes: Record<string, number>
  occupancy: Record<string, number>
  /** What the machine found wrong, in words. */
  findings: string[]
}

/** The parts of the machine's report that are read here. */
interface Sums {
  launches: number
  issues: number
  sectors: number
  idealSectors: number
  wavefronts: number
  idealWavefronts: number
  footprintRead: number
  footprintWritten: number
  multiplyAdds: number
  issuesByClass: Record<string, number>
}
interface ShapeReport extends Sums {
  grid: [number, number, number]
  block: [number, number, number]
  dynamicShared: number
  occupancy: Record<string, { blocks: number; threads: number }>
}
interface KernelReport {
  resources: Record<string, { registers: number; stackBytes: number }>
  shapes: ShapeReport[]
  findings: { kind: string; what: string }[]
}
interface Report {
  kernels: Record<string, KernelReport>
  findings: { kind: string; what: string }[]
  errors: string[]
}

/** Runs work on the `cuda` device under the PTX machine and tells what its kernels did. The machine must be the driver of this process. */
export class Machine {
  readonly #prefix: string
  #before: Report | null = null

  constructor() {
    this.#prefix = join(mkdtempSync(join(tmpdir(), 'lantern-bounds-')), 'report')
    process.env.LANTERN_SIMT_REPORT = this.#prefix
  }

  /** The counts of every kernel that `work` enqueued, by name. @throws Error when a launch fails */
  async count<T>(work: (device: Device) => T): Promise<{ kernels: Map<string, Counts>; result: T }> {
    const device = Device.open('cuda')
    let result: T
    try {
      {
        using _scope = device.scope()
        result = work(device)
      }
      await device.synchronize()
    } finally {
      await device.close() // the machine writes its report
    }
    const before = this.#before
    const after = JSON.parse(readFileSync(`${this.#prefix}.${process.pid}.json`, 'utf8')) as Report
    this.#before = after
    for (const { kind, what } of after.findings) throw new Error(`${kind}: ${what}`)
    const kernels = new Map<string, Counts>()
    for (const [name, kernel] of Object.entries(after.kernels)) {
      const counts = difference(kernel, before?.kernels[name])
      if (counts.launches > 0) kernels.set(name, counts)
    }
    return { kernels, result }
  }

  /** Bytes of stack of every entry point of the modules that were loaded, by architecture: 0 where nothing spills. */
  stacks(): Record<string, Record<string, number>> {
    return each(this.#before?.kernels ?? {}, (kernel) => each(kernel.resources, (r) => r.stackBytes))
  }

  /** Ends the counting. The machine reads its settings when a device is opened: this one has no report to write. */
  async close(): Promise<void> {
    delete process.env.LANTERN_SIMT_REPORT
    await Device.open('cuda').close()
    rmSync(join(this.#prefix, '..'), { recursive: true, force: true })
  }
}

/** The report counts from the start of the process; this is what was added. */
function difference(after: KernelReport, before: KernelReport | undefined): Counts {
  const counts: Counts = {
    launches: 0,
    issues: 0,
    float32: 0,
    special: 0,
    sectors: 0,
    idealSectors: 0,
    wavefronts: 0,
    idealWavefronts: 0,
    footprint: 0,
    multiplyAdds: 0,
    registers: each(after.resources, (r) => r.registers),
    stackBytes: each(after.resources, (r) => r.stackBytes),
    occupancy: {},
    findings: after.findings.map(({ kind, what }) => `${kind}: ${what}`),
  }
  for (const shape of after.shapes) {
    const key = keyOf(shape)
    const old = before?.shapes.find((s) => keyOf(s) === key)
    const launches = shape.launches - (old?.launches ?? 0)
    if (launches === 0) continue
    counts.launches += launches
    for (const field of ['issues', 'sectors', 'idealSectors', 'wavefronts', 'idealWavefronts', 'multiplyAdds'] as const)
      counts[field] += shape[field] - (old?.[field] ?? 0)
    for (const kind of ['float32', 'special'] as const)
      counts[kind] += shape.issuesByClass[kind]! - (old?.issuesByClass[kind] ?? 0)
    for (const field of ['footprintRead', 'footprintWritten'] as const)
      counts.footprint += shape[field] - (old?.[field] ?? 0)
    counts.occupancy = each(shape.occupancy, (o) => o.threads)
  }
  return counts
}

const keyOf = ({ grid, block, dynamicShared }: ShapeReport): string => JSON.stringify([grid, block, dynamicShared])

const each = <T, U>(of: Record<string, T>, fn: (value: T) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(of).map(([name, value]) => [name, fn(value)]))
