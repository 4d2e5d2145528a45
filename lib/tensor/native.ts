import { createRequire } from 'node:module'
import { sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AddonError } from '../errors.js'

/** The command that builds the addon, in a checkout and where the package is installed. */
export const BUILD_COMMAND = fileURLToPath(import.meta.url)
  .split(sep)
  .includes('node_modules')
  ? 'npm rebuild lantern-node'
  : 'npm run install'

/** One field of a kernel's parameter struct, 8 bytes wide. */
export interface KernelField {
  name: string
  /** p: device pointer, i: 64-bit integer, f: float64. */
  kind: 'p' | 'i' | 'f'
}

/** What the addon says of one of its kernels. */
export interface KernelInfo {
  name: string
  fields: KernelField[]
}

/** What `describe()` of the addon tells: the processor, the instruction set chosen and why, and how the addon was built. */
export interface AddonInfo {
  processor: string
  instructionSet: string
  reason: string
  instructionSets: { name: string; supported: boolean; why: string }[]
  hardwareThreads: number
  compiler: string
  builder: string
  maxParams: number
}

/** A GPU as the driver tells of it. */
export interface GpuInfo {
  name: string
  /** 8.0 for an A100. */
  computeCapability: number
  multiprocessors: number
  /** Bytes. */
  memory: number
  /** Whether it can be used. */
  supported: boolean
  /** Why not. */
  why: string
}

/** What there is of CUDA. Versions are 13000 for 13.0. */
export interface CudaInfo {
  /** CUDA version that the kernels were built with; 0: the addon was built without. */
  toolkit: number
  /** CUDA version of the driver; 0: there is none, or nobody asked. */
  driver: number
  /** By ordinal: `cuda:1` is the second. */
  gpus: GpuInfo[]
  /** Why there is no GPU to use, and what to do; empty: there is one. */
  reason: string
}

/** Bytes of a device: live and peak are what tensors hold, reserved is what the allocator took from the system, workspace is scratch of the kernels. */
export interface MemoryStats {
  live: number
  peak: number
  reserved: number
  workspace: number
  /** 0: no budget. */
  budget: number
  /** Kernels enqueued so far. */
  launched: number
}

/** What a kernel took while a profile ran. */
export interface KernelTiming {
  calls: number
  /** All calls together. */
  seconds: number
}

/** The addon's device object; every address is a plain number. */
export interface NativeDevice {
  name(): string
  allocate(bytes: number): number
  free(address: number): void
  launch(kernel: number): void
  upload(address: number, data: Uint8Array): void
  uploadMapped(address: number, mapped: number, bytes: number): void
  download(address: number, bytes: number): Promise<ArrayBuffer>
  synchronize(): Promise<void>
  memory(): MemoryStats
  resetPeak(): void
  profile(on: boolean): void
  timings(): Record<string, KernelTiming>
  releaseUnused(): void
  mapFile(path: string): { address: number; bytes: number }
  unmapFile(address: number, bytes: number): void
  close(): void
}

interface Addon {
  kernels(): KernelInfo[]
  describe(): AddonInfo
  cuda(): CudaInfo
  NativeDevice: new (gpu: number, threads: number, budget: number, params: Uint8Array) => NativeDevice
}

let loaded: Addon | undefined

/**
 * The native addon, loaded at the first call. `LANTERN_ADDON` names another file (a sanitizer build, say).
 * @throws AddonError when it was not built or does not load.
 */
export function addon(): Addon {
  if (loaded) return loaded
  const file = process.env.LANTERN_ADDON ?? fileURLToPath(new URL('../../build/Release/lantern.node', import.meta.url))
  try {
    loaded = createRequire(import.meta.url)(file) as Addon
  } catch (cause) {
    const reason = (cause as Error).message.split('\n')[0] // without Node's list of requiring files
    throw new AddonError(`the native addon ${file} does not load (${reason}); build it with: ${BUILD_COMMAND}`, {
      cause,
    })
  }
  return loaded
}
