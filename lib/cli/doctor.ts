import { readdirSync, readFileSync } from 'node:fs'
import { freemem, totalmem } from 'node:os'
import type { Command } from 'commander'
import { z } from 'zod'
import { AddonError, DeviceError } from '../errors.js'
import { Device, type DeviceInfo } from '../tensor/device.js'
import type { DeviceKind } from '../tensor/deviceKind.js'
import type { CudaInfo } from '../tensor/native.js'
import type { FloatDType } from '../tensor/tensor.js'
import { defineCommand, type Print } from './command.js'
import { deviceSetting, withDevice } from './device.js'
import { measurePeak, productSeconds } from './peak.js'
import { version } from './version.js'

/** What `lantern doctor` finds. */
export interface DoctorReport {
  version: string
  node: string
  platform: string
  /** Null when the addon does not load. */
  addon: DeviceInfo | null
  /** The device that opens, and why it; null when none does. */
  device: { kind: 'cpu' | 'cuda'; name: string; why: string } | null
  threads: number | null
  /** Bytes; `limit` is what the process may take where that is less than all. */
  memory: { total: number; free: number; limit: number | null; hugePages: string }
  /** Measured: operations a second of a matrix product by dtype, bytes a second that one row times a matrix reads. */
  measured: { matrixPeak: Record<FloatDType, number>; readBandwidth: number } | null
  /** What to do about what is off, one sentence each. */
  advice: string[]
}

/** `lantern doctor`: what this machine offers and what is used of it. */
export function doctorCommand(program: Command): void {
  defineCommand(program, {
    name: 'doctor',
    description: 'tell what this machine offers, what is used of it and why, and what to do if something is off',
    schema: z.object({ quick: z.boolean().default(false).describe('measure nothing'), device: deviceSetting }),
    run: async (settings) => ((await doctor(console.log, settings)).addon === null ? 1 : 0),
  })
}

/** Examines the machine; takes about a second, unless `quick`: then nothing is measured. */
export async function doctor(
  print: Print,
  { quick = false, device: kind = 'auto' }: { quick?: boolean; device?: DeviceKind } = {},
): Promise<DoctorReport> {
  const report: DoctorReport = {
    version,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    addon: null,
    device: null,
    threads: null,
    memory: memory(),
    measured: null,
    advice: [],
  }
  try {
    report.addon = Device.describe()
    const { cuda } = report.addon
    await withDevice({ device: kind }, {}, async (device) => {
      report.device = { kind: device.kind, name: device.name, why: whyChosen(device, kind, cuda) }
      report.threads = device.threads
      if (!quick) report.measured = await measure(device)
    })
  } catch (error) {
    if (!(error instanceof AddonError || error instanceof DeviceError)) throw error
    report.advice.push(error.message)
  }
  report.advice.push(...adviceOn(report))
  for (const line of reportLines(report)) print(line)
  return report
}

/** What the machine reaches: the measured half of the report. */
export const measure = async (device: Device): Promise<NonNullable<DoctorReport['measured']>> => ({
  matrixPeak: { float32: await measurePeak(device, 'float32'), bfloat16: await measurePeak(device, 'bfloat16') },
  readBandwidth: await measureReadBandwidth(device),
})

function whyChosen(device: Device, kind: DeviceKind, cuda: CudaInfo): string {
  if (kind !== 'auto') return `--device is ${kind}`
  if (process.env.LANTERN_DEVICE && process.env.LANTERN_DEVICE !== 'auto')
    return `LANTERN_DEVICE is ${process.env.LANTERN_DEVICE}`
  if (device.kind === 'cpu') return 'there is no GPU to use'
  return `the first GPU that can be used, cuda:${cuda.gpus.findIndex(({ supported }) => supported)}`
}

/** Whether there is a graphics card of NVIDIA's, with or without a driver. Linux alone tells. */
function nvidiaCard(): boolean {
  const devices = '/sys/bus/pci/devices'
  const read = (device: string, file: string) => readFileSync(`${devices}/${device}/${file}`, 'utf8')
  try {
    return readdirSync(devices).some((d) => /^0x10de/.test(read(d, 'vendor')) && /^0x03/.test(read(d, 'class')))
  } catch {
    return false
  }
}

const HUGE_PAGES = '/sys/kernel/mm/transparent_hugepage/enabled'

function memory(): DoctorReport['memory'] {
  const limit = process.constrainedMemory() ?? 0
  const total = totalmem()
  return { total, free: freemem(), limit: limit > 0 && limit < total ? limit : null, hugePages: hugePages() }
}

/** `always`, `madvise` or `never`; `unknown` where the system does not tell. */
function hugePages(): string {
  try {
    return /\[(\w+)\]/.exec(readFileSync(HUGE_PAGES, 'utf8'))?.[1] ?? 'unknown'
  } catch {
    return 'unknown'
  }
}

/** Bytes a second: one row times a float32 matrix that no cache holds (128 MiB; on a GPU 1 GiB), as generation of a text reads its weights. */
async function measureReadBandwidth(device: Device): Promise<number> {
  const [out, cols] = [device.kind === 'cpu' ? 16384 : 131072, 2048]
  return (out * cols * 4) / (await productSeconds(device, 1, out, cols, { runs: 5 }))
}

function adviceOn({ addon, threads, memory }: DoctorReport): string[] {
  const advice: string[] = []
  if (addon && threads !== null && threads < addon.hardwareThreads)
    advice.push(`only ${threads} of ${addon.hardwareThreads} threads are used: unset LANTERN_THREADS`)
  const best = addon?.instructionSets.find(({ supported }) => supported)
  if (addon && best && best.name !== addon.instructionSet)
    advice.push(`${best.name} is supported but ${addon.instructionSet} is used (${addon.reason}): unset LANTERN_CPU`)
  if (memory.hugePages === 'never')
    advice.push(`huge pages are off, which slows large matrices down: echo madvise | sudo tee ${HUGE_PAGES}`)
  // Without a card there is nothing to be done: neither a driver nor nvcc would help.
  const card = addon && (addon.cuda.driver > 0 ? !/there is no NVIDIA GPU/.test(addon.cuda.reason) : nvidiaCard())
  if (card && addon.cuda.reason) advice.push(`no GPU is used, since ${addon.cuda.reason}`)
  const usable = Math.min(memory.free, memory.limit ?? memory.free)
  if (usable < 2 ** 30)
    advice.push(`only ${gib(usable)} of memory are free: close other programs, or train with a smaller batch`)
  return advice
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`

const row = (name: string, value: string): string => `${name.padEnd(17)} ${value}`

/** The GPUs, or why there is none to use. */
export function cudaLines({ toolkit, driver, gpus, reason }: CudaInfo): string[] {
  const version = (v: number) => `${Math.floor(v / 1000)}.${(v % 1000) / 10}`
  const versions = [
    toolkit && `kernels of CUDA ${version(toolkit)}`,
    driver && `driver of CUDA ${version(driver)}`,
  ].filter(Boolean)
  return [
    row('CUDA', reason && gpus.length === 0 ? `no: ${reason}` : versions.join(', ')),
    ...gpus.map(({ name, computeCapability, multiprocessors, memory, supported, why }, i) =>
      row(
        '',
        supported
          ? `+ cuda:${i} ${name}: compute capability ${computeCapability.toFixed(1)}, ${multiprocessors} multiprocessors, ${gib(memory)}`
          : `- cuda:${i} ${name}: ${why}`,
      ),
    ),
  ]
}

function reportLines(report: DoctorReport): string[] {
  const { addon, device, threads, memory, measured, advice } = report
  const gflops = (dtype: FloatDType) => `${((measured?.matrixPeak[dtype] ?? 0) / 1e9).toFixed(0)} GFLOP/s`
  const limit = memory.limit === null ? '' : `, this process may take ${gib(memory.limit)}`
  return [
    row('lantern', `${report.version}, Node ${report.node}, ${report.platform}`),
    ...(addon
      ? [
          row('processor', addon.processor),
          row('instruction set', `${addon.instructionSet}: ${addon.reason}`),
          ...addon.instructionSets.map(({ name, supported, why }) =>
            row('', `${supported ? '+' : '-'} ${name}${why ? `: ${why}` : ''}`),
          ),
          row('threads', threads === null ? String(addon.hardwareThreads) : `${threads} of ${addon.hardwareThreads}`),
          row('addon', `built by ${addon.builder} with ${addon.compiler}`),
          ...cudaLines(addon.cuda),
          row('device', device ? `${device.kind}: ${device.name} (${device.why})` : 'none opens'),
        ]
      : [row('addon', 'does not load')]),
    row('memory', `${gib(memory.total)}, ${gib(memory.free)} free${limit}; huge pages: ${memory.hugePages}`),
    ...(measured
      ? [
          row('matrix product', `${gflops('float32')} float32, ${gflops('bfloat16')} bfloat16 (measured)`),
          row('memory reads', `${(measured.readBandwidth / 1e9).toFixed(1)} GB/s (measured)`),
        ]
      : []),
    '',
    ...(advice.length > 0 ? ['What to do:', ...advice.map((line) => `- ${line}`)] : ['Everything is in order.']),
  ]
}
