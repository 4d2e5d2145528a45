import { textTable } from '../eval/report.js'
import type { ModelConfig } from '../models/config.js'
import { parameterCount } from '../models/families.js'
import { bytesText } from '../plan/bytesText.js'
import type { PlanRequest } from '../plan/changes.js'
import type { Plan } from '../plan/plan.js'
import { type MemoryPlan, planStep } from '../plan/step.js'

/** What a plan is called by, and what else is to be told of it. */
export interface PlanNames {
  student: string
  teacher?: string | undefined
  /** Sequences to train on in all. */
  samples?: number | undefined
}

/** A plan for people, in blocks: what is planned, the memory, whether it fits and what would make it, the time. */
export const planText = (plan: Plan, names: PlanNames): string[] => [
  title(plan, names),
  memoryTable(plan),
  verdict(plan),
  timeTable(plan, names.samples),
]

/** A whole number with its thousands set apart. */
export const whole = (n: number): string => Math.round(n).toLocaleString('en')

function sized(name: string, config: ModelConfig): string {
  const n = parameterCount(config)
  return `${name} (${n < 1e9 ? `${(n / 1e6).toFixed(1)} M` : `${(n / 1e9).toFixed(2)} B`} parameters)`
}

function title({ request, machine }: Plan, { student, teacher }: PlanNames): string {
  const { length, batch, microBatch, precision, recompute } = request
  const learns = request.teacher ? `learns from ${sized(teacher!, request.teacher)}` : learning(request)
  const batches = `${whole(batch)} ${unit(request)} of ${whole(length)} tokens a step, ${whole(microBatch)} at once`
  const how = recompute && !request.frozen ? `${precision}, with --recompute` : precision
  return `${sized(student, request.student)} ${learns}, on ${machine.name}\n${batches}; ${how}`
}

/** How a student without a teacher trains. */
function learning({ student, frozen }: PlanRequest): string {
  const { numLabels, twoTower } = student
  if (numLabels === undefined) return 'trains on texts alone'
  const towers = twoTower ? `, two towers that meet by ${twoTower.interaction}` : ''
  return `trains as a classifier of ${numLabels} classes${towers}${frozen ? ', its head alone, over a frozen encoder' : ''}`
}

/** What a micro-batch is counted in. */
const unit = ({ student }: PlanRequest): string => (student.twoTower ? 'pairs' : 'sequences')

function memoryTable({ request, machine, memory, other }: Plan): string {
  const ways: [string, MemoryPlan][] = request.frozen
    ? [['encoder frozen', memory]] // nothing of it is computed again
    : [
        ['without recompute', request.recompute ? other : memory],
        ['with --recompute', request.recompute ? memory : other],
      ]
  const mapped = memory.parts.find((p) => p.mapped)?.name
  const names = [...new Set(ways.flatMap(([, { parts }]) => parts.map(({ name }) => name)))]
  const cell = ({ parts }: MemoryPlan, name: string): string => {
    const part = parts.find((p) => p.name === name)
    return part ? bytesText(part.bytes) : '-'
  }
  const shown = (name: string) => (name === mapped ? `${name}, mapped: not counted` : name)
  const rows = names.map((name) => [shown(name), ...ways.map(([, plan]) => cell(plan, name))])
  rows.push([`needed, of ${bytesText(machine.memory)}`, ...ways.map(([, plan]) => bytesText(plan.needed))])
  const table = textTable({ columns: ['memory', ...ways.map(([name]) => name)], rows })
  return `${table}${forwardLine(request, machine.device)}`
}

/** What rating alone needs, where a classifier is trained. */
function forwardLine(request: PlanRequest, device: Plan['machine']['device']): string {
  const { student, precision, microBatch, length } = request
  if (student.numLabels === undefined) return ''
  const { memory } = planStep({ student, precision, mode: 'forward', sequences: microBatch, length, device })
  const what = `${whole(microBatch)} ${unit(request)} at once`
  return `\nTo rate ${what}, without training: ${bytesText(memory.needed)}`
}

function verdict({ machine, fits, memory, remedies }: Plan): string {
  const [needed, all] = [bytesText(memory.needed), bytesText(machine.memory)]
  const driver = machine.device.kind === 'cuda' ? ' beside what its driver keeps' : ''
  if (fits) return `It fits: ${needed} of the ${all} that ${machine.name} has${driver}.`
  const rows = remedies.map((r) => [r.change, bytesText(r.bytes), r.fits ? 'yes' : 'no', `${r.slowdown.toFixed(2)}x`])
  const table = textTable({ columns: ['change', 'needed', 'fits', 'time per token'], rows })
  return `It does not fit: ${needed}, and ${machine.name} has ${all}${driver}. What would help, the least costly first:\n${table}`
}

/** A size and its name. */
type Unit = readonly [size: number, name: string]

/** The largest of `units`, which fall, that `n` has one of, else the smallest. */
const unitFor = (n: number, units: readonly Unit[]): Unit => units.find(([size]) => n >= size) ?? units.at(-1)!

/** Numbers in the unit that suits their total: its name, and how each is written. */
function column(total: number, units: readonly Unit[]) {
  const [size, name] = unitFor(total, units)
  const digits = total < 100 * size ? 2 : 1
  return { name, cell: (n: number) => (n / size).toFixed(digits) }
}

function timeTable({ machine, time, request }: Plan, samples: number | undefined): string {
  const sum = (of: 'flops' | 'bytes') => time.parts.reduce((n, p) => n + p[of], 0)
  const step = { ...time, part: 'a step', flops: sum('flops'), bytes: sum('bytes') }
  const seconds = column(step.seconds, [
    [1, 's'],
    [1e-3, 'ms'],
  ])
  const flops = column(step.flops, [
    [1e12, 'TFLOP'],
    [1e9, 'GFLOP'],
  ])
  const bytes = column(step.bytes, [
    [1e9, 'GB'],
    [1e6, 'MB'],
  ])
  const rows = [...time.parts, step].map((p) => [
    p.part,
    `${seconds.cell(p.seconds)} ${seconds.name}`,
    `${Math.round((100 * p.seconds) / time.seconds)} %`,
    p.limit,
    flops.cell(p.flops),
    bytes.cell(p.bytes),
  ])
  const table = textTable({ columns: ['time', 'at least', 'share', 'limited by', flops.name, bytes.name], rows })
  const all = samples && (samples / request.batch) * time.seconds
  const take = all ? `; ${whole(samples)} samples take ${durationText(all)} at least` : ''
  const peak = (machine.flops[request.precision] / 1e12).toFixed(1)
  const peaks = `${peak} TFLOP/s in ${request.precision}, ${whole(machine.bandwidth / 1e9)} GB/s`
  const bound = `A bound at the peaks of ${machine.name} (${peaks}), not a measurement.`
  return `${table}\n${whole(time.tokensPerSecond)} tokens/s at most${take}.\n${bound}`
}

function durationText(seconds: number): string {
  const [size, name] = unitFor(seconds, [
    [3600, 'hours'],
    [60, 'minutes'],
    [1, 'seconds'],
  ])
  return `${(seconds / size).toFixed(1)} ${name}`
}
