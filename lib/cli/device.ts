import { z } from 'zod'
import { Device } from '../tensor/device.js'
import { DEVICE_KINDS, type DeviceKind, isDeviceKind } from '../tensor/deviceKind.js'
import type { Print } from './command.js'

/** Where a command computes: the setting of every command that opens a device. */
export const deviceSetting = z
  .custom<DeviceKind>(isDeviceKind, { error: ({ input }) => `is ${JSON.stringify(input)}; use ${DEVICE_KINDS}` })
  .default('auto')
  .meta({
    description: `where to compute: ${DEVICE_KINDS}; 'auto' is what LANTERN_DEVICE names, else a GPU that can be used, else the processor`,
    argument: 'device',
  })

/** What a command does its work with. */
export interface CommandContext {
  print: Print
  /** Ends the work early and cleanly. */
  signal?: AbortSignal
  /** One that is open already, whatever the settings say; default: one that is opened for the command and closed after it. */
  device?: Device
}

/** Runs `work` on the context's device, or on one of its own, of the kind that the settings name. @throws DeviceError when there is none */
export async function withDevice<T>(
  settings: { device: DeviceKind },
  context: Pick<CommandContext, 'device'>,
  work: (device: Device) => Promise<T>,
): Promise<T> {
  if (context.device) return work(context.device)
  const device = Device.open(settings.device)
  try {
    return await work(device)
  } finally {
    await device.close()
  }
}
