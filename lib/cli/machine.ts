import { totalmem } from 'node:os'
import { CARDS } from '../plan/cards.js'
import { DRIVER_BYTES, type Machine, machineOf } from '../plan/machine.js'
import { Device } from '../tensor/device.js'
import { measure } from './doctor.js'

/** What `--gpu` takes: the cards by name, in small letters without spaces, and this machine's processor. */
export const MACHINES = ['a100', 'h100', 'rtx4090', 'cpu'] as const

/** A card by its maker's documents, or this machine's processor as it is measured now, which takes a second. */
export async function machineNamed(name: (typeof MACHINES)[number]): Promise<Machine> {
  const card = CARDS.find((c) => c.name.replaceAll(' ', '').toLowerCase() === name)
  if (card) return machineOf(card)
  const device = Device.open('cpu')
  try {
    const { matrixPeak, readBandwidth } = await measure(device)
    const { name, memory, device: head } = machineHere(device)
    return { name, memory, device: head, bandwidth: readBandwidth, flops: matrixPeak }
  } finally {
    await device.close()
  }
}

/** The part of a machine that memory is planned by, of a device that is open. `memory`: its own or the process's, or the budget if that is less. */
export function machineHere(device: Device): Pick<Machine, 'name' | 'memory' | 'device'> {
  const { name, kind, threads } = device
  const info = Device.describe()
  const gpu = info.cuda.gpus.find((g) => g.name === name)
  const all =
    kind === 'cuda' && gpu ? gpu.memory - DRIVER_BYTES : Math.min(totalmem(), process.constrainedMemory() || Infinity)
  const { budget } = device.memory()
  const memory = Math.min(all, budget || Infinity)
  if (kind === 'cuda' && gpu) return { name, memory, device: { kind, multiprocessors: gpu.multiprocessors } }
  return { name, memory, device: { kind: 'cpu', instructionSet: info.instructionSet, threads } }
}
