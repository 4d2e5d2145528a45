// Faults of the driver, many in one process: the PTX machine reads its settings again when a device is opened while none is open.
// Arguments name a scenario; each prints what it finds as lines of JSON.
import { Engine } from '../../lib/generate/engine.js'
import { Device } from '../../lib/tensor/device.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { TinyRun } from './tinyRun.js'
import { say, told } from './told.js'

/** Opens a GPU whose driver is to fail in that way. */
function openWith(fault: string): Device {
  process.env.LANTERN_SIMT_FAULT = fault
  return Device.open('cuda')
}

/** What one optimiser step comes to, everything built anew, and how many bytes it left behind. */
async function step(device: Device): Promise<{ values?: number[]; error?: unknown; left?: number }> {
  let run: TinyRun | undefined
  let before: number | undefined
  const left = () => (before === undefined ? undefined : device.memory().live - before)
  try {
    run = new TinyRun(device)
    before = device.memory().live
    return { values: await run.step(), left: left() }
  } catch (error) {
    return { error, left: left() }
  } finally {
    run?.dispose()
  }
}

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((v, i) => Object.is(v, b[i]))

const cpu = Device.open('cpu')

/** Of so many faults one is followed by the same step once more, on the same device. */
const AGAIN = 5

/**
 * Lets the n-th event of a kind fail, n = 1, 1 + stride, ..., until a step meets no fault. `width` events in a row fail, so that trying again
 * does not help. For each n: the error, bytes that the failed step left, and now and then what comes of doing it again.
 */
async function sweep(kind: string, stride: number, width: number): Promise<void> {
  const healthy = openWith('')
  const { values: expected } = await step(healthy)
  await healthy.close()
  say({ name: 'expected', values: expected })
  for (let [n, count] = [1, 0]; ; n += stride, count++) {
    let device: Device
    try {
      device = openWith(kind === 'lose' ? `lose=${n}` : `${kind}=${n}-${n + width - 1}`)
    } catch (error) {
      say({ name: 'open', n, error: told(error) })
      continue
    }
    const { values, error, left } = await step(device)
    if (values) {
      say({ name: 'no fault', n, same: same(values, expected!), left })
      await device.close()
      break
    }
    const onCpu = await cpu.tensor([n, 2]).floats()
    const line: Record<string, unknown> = { name: 'step', n, error: told(error), left, cpu: onCpu[0] === n }
    if (count % AGAIN === 0) {
      const again = await step(device)
      line.again = again.values ? { same: same(again.values, expected!) } : { error: told(again.error) }
    }
    say(line)
    await device.close()
  }
}

/** One step under one fault, whatever it is. */
async function once(fault: string): Promise<void> {
  try {
    const healthy = fault.startsWith('hide=') ? undefined : openWith(fault.startsWith('noPools') ? 'noPools' : '')
    const expected = healthy && (await step(healthy)).values!
    await healthy?.close()
    const device = openWith(fault)
    const { values, error } = await step(device)
    await device.close()
    if (error) throw error
    say({ name: 'once', same: same(values!, expected!) })
  } catch (error) {
    say({ name: 'once', error: told(error) })
  }
}

/** The device is lost at the n-th of many reads and closed at once: every one of them is settled. */
async function settle(n: number): Promise<void> {
  const device = openWith(`lose=${n}`)
  let tensors: Tensor[] = []
  try {
    tensors = Array.from({ length: 8 }, (_, i) => device.tensor([i]))
  } catch {} // lost before the reads: no case of this
  const reads = tensors.map((t) => t.floats())
  const closed = device.close()
  const outcomes = await Promise.allSettled(reads)
  await closed
  const errors = outcomes.flatMap((o) => (o.status === 'rejected' ? [told(o.reason)] : []))
  const right = outcomes.every((o, i) => o.status === 'rejected' || o.value[0] === i)
  say({ name: 'settle', n, settled: outcomes.length, right, errors })
}

/** A kernel fails while three texts are generated: each ends with the error, and so does another that is asked for afterwards. */
async function generate(n: number): Promise<void> {
  const device = openWith(`execution=${n}`)
  const run = new TinyRun(device)
  const engine = new Engine(run.student, { cacheTokens: 128 })
  const text = async (first: number) => {
    const ids: number[] = []
    for await (const { id } of engine.generate([first, 2], { maxTokens: 6, stop: [] })) ids.push(id)
    return ids
  }
  const outcomes = await Promise.allSettled([text(1), text(2), text(3)])
  const after = await text(4).then(
    (ids) => ({ ids }),
    (error) => ({ error: told(error) }),
  )
  say({
    name: 'generate',
    errors: outcomes.map((o) => (o.status === 'rejected' ? told(o.reason) : { ids: o.value })),
    after,
    cpu: (await cpu.tensor([7]).floats())[0],
  })
  engine.dispose()
  run.dispose()
  await device.close()
}

const [name, ...rest] = process.argv.slice(2)
const numbers = (values: readonly string[]) => values.map(Number)
if (name === 'sweep') await sweep(rest[0]!, ...(numbers(rest.slice(1)) as [number, number]))
else if (name === 'once') await once(rest[0]!)
else if (name === 'settle') for (const n of numbers(rest)) await settle(n)
else if (name === 'generate') for (const n of numbers(rest)) await generate(n)
await cpu.close()
