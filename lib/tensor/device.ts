import { DeviceError, DTypeError, OutOfMemoryError, ShapeError } from '../errors.js'
import { chosenGpu, type DeviceKind } from './deviceKind.js'
import {
  type AddonInfo,
  addon,
  BUILD_COMMAND,
  type CudaInfo,
  type KernelField,
  type KernelTiming,
  type MemoryStats,
  type NativeDevice,
} from './native.js'
import { Scope } from './scope.js'
import type { Tape } from './tape.js'
import {
  type DType,
  dtypeBytes,
  dtypeCode,
  elements,
  type FloatDType,
  type Shape,
  type Storage,
  shapeText,
  Tensor,
} from './tensor.js'

/** What `Device.describe` tells. */
export interface DeviceInfo extends AddonInfo {
  /** The GPUs, or why there is none to use. */
  cuda: CudaInfo
}

/** How to open a device. */
export interface DeviceOptions {
  /** Threads of the CPU backend; default LANTERN_THREADS, else all processors. */
  threads?: number
  /** Bytes that tensors may take from the system; default: no limit but the machine's. */
  memoryBudget?: number
  /** Fill fresh memory with NaN (0xff), so that a kernel that reads what nobody wrote is found out. For tests. */
  poison?: boolean
}

/** Values of a kernel's parameter struct, by field name. Tensors stand for their addresses. */
export type LaunchParams = Readonly<Record<string, Tensor | number | null>>

interface BoundKernel {
  index: number
  fields: KernelField[]
}

/**
 * A device with one ordered stream. Ops enqueue and return; work runs off the event loop, in order.
 * Open one with `Device.open`; close it with `await device.close()`.
 */
export class Device {
  readonly kind: 'cpu' | 'cuda'
  /** The processor or the GPU, as its maker calls it. */
  readonly name: string
  /** Threads of the CPU backend. */
  readonly threads: number
  /** Whether kernels can read host memory, such as that of a mapped file. @internal */
  readonly readsHostMemory: boolean
  /** The tape that ops record on, if one is open. */
  tape: Tape | null = null
  readonly #native: NativeDevice
  readonly #kernels: Map<string, BoundKernel>
  readonly #params: DataView
  readonly #scopes: Scope[] = []
  readonly #net: FinalizationRegistry<number>
  readonly #poison: boolean
  #closed = false
  #closing: Promise<void> | undefined

  /** @param gpu its ordinal, or null for the CPU */
  private constructor(gpu: number | null, options: DeviceOptions) {
    const info = addon().describe()
    this.kind = gpu === null ? 'cpu' : 'cuda'
    this.readsHostMemory = gpu === null
    this.threads = threadCount(options.threads, info.hardwareThreads)
    if (options.memoryBudget !== undefined && !(options.memoryBudget > 0))
      throw new DeviceError(
        'ERR_OPTION',
        `memoryBudget is ${options.memoryBudget}; give a number of bytes above 0, or leave it out`,
      )
    this.#poison = options.poison ?? false
    const params = new Uint8Array(info.maxParams)
    this.#params = new DataView(params.buffer)
    this.#native = opened(gpu ?? -1, this.threads, options.memoryBudget ?? 0, params)
    this.name = this.#native.name()
    this.#kernels = new Map(
      addon()
        .kernels()
        .map((k, index) => [k.name, { index, fields: k.fields }]),
    )
    this.#net = new FinalizationRegistry((address) => this.#free(address))
  }

  /**
   * Opens a device. 'auto' takes the one that LANTERN_DEVICE names, else a GPU if there is one, else the CPU.
   * @throws AddonError without the native addon; DeviceError for a device that there is not, and why, or an option that is out of range
   */
  static open(kind: DeviceKind = 'auto', options: DeviceOptions = {}): Device {
    const named = kind === 'auto' ? process.env.LANTERN_DEVICE : undefined
    return new Device(named ? chosenGpu(named, ' (LANTERN_DEVICE)') : chosenGpu(kind), options)
  }

  /** The processor, the instruction set chosen and why, how the addon was built, and the GPUs, or why there is none to use. */
  static describe(): DeviceInfo {
    return { ...addon().describe(), cuda: addon().cuda() }
  }

  /** The float dtype that this device multiplies fastest: bfloat16 where there are instructions for it, as on every GPU, else float32. */
  get fastestDtype(): FloatDType {
    return this.kind === 'cuda' || addon().describe().instructionSet === 'avx512bf16' ? 'bfloat16' : 'float32'
  }

  /**
   * Enqueues a kernel. Every field of its struct must be given, none besides.
   * @throws DeviceError for a kernel that does not exist or fields that do not match.
   */
  launch(name: string, params: LaunchParams): void {
    this.#assertOpen()
    const kernel = this.#kernels.get(name)
    if (!kernel)
      throw new DeviceError('ERR_KERNEL', `there is no kernel '${name}' in the addon; build it with: ${BUILD_COMMAND}`)
    const view = this.#params
    let at = 0
    for (const { name: field, kind } of kernel.fields) {
      const value = params[field]
      if (value === undefined) throw new DeviceError('ERR_KERNEL', `kernel ${name}: the field ${field} is missing`)
      if (kind === 'f') view.setFloat64(at, value as number, true)
      else writeInteger(view, at, kind === 'p' ? addressOf(value) : (value as number))
      at += 8
    }
    if (Object.keys(params).length !== kernel.fields.length)
      throw new DeviceError(
        'ERR_KERNEL',
        `kernel ${name} has the fields ${kernel.fields.map((f) => f.name).join(', ')}, and no others`,
      )
    try {
      this.#native.launch(kernel.index)
    } catch (error) {
      rethrow(error)
    }
  }

  /** A tensor whose values are not set yet. @throws OutOfMemoryError */
  empty(shape: Shape, dtype: DType = 'float32'): Tensor {
    this.#assertOpen()
    for (const d of shape)
      if (!Number.isInteger(d) || d < 0)
        throw new ShapeError(`${shapeText(shape)} is no shape; give integers of 0 or more`)
    const bytes = elements(shape) * dtypeBytes(dtype)
    const address = this.#allocate(bytes)
    if (address === 0) throw this.#outOfMemory(shape, dtype, bytes)
    const token = {}
    const storage: Storage = {
      users: 0,
      release: () => {
        this.#net.unregister(token)
        this.#free(address)
      },
    }
    this.#net.register(storage, address, token)
    if (this.#poison) this.upload(address, new Uint8Array(bytes).fill(0xff))
    return this.track(new Tensor(this, dtype, shape, address, storage))
  }

  #allocate(bytes: number): number {
    try {
      return this.#native.allocate(bytes)
    } catch (error) {
      return rethrow(error)
    }
  }

  /** A tensor of zeros. */
  zeros(shape: Shape, dtype: DType = 'float32'): Tensor {
    const t = this.empty(shape, dtype)
    if (t.size > 0) this.launch('fill', { y: t, count: t.size, dtype: dtypeCode(dtype), value: 0 })
    return t
  }

  /**
   * A tensor from host values, copied now. bfloat16 rounds to nearest even; a Uint16Array holds its bits as they are.
   * @throws ShapeError when the number of values does not fit the shape.
   */
  tensor(data: ArrayLike<number>, shape: Shape = [data.length], dtype?: DType): Tensor {
    const type = dtype ?? (data instanceof Int32Array ? 'int32' : data instanceof Uint16Array ? 'bfloat16' : 'float32')
    if (data instanceof Uint16Array && type !== 'bfloat16')
      throw new DTypeError(`a Uint16Array holds bfloat16 bits, not ${type}`)
    return this.empty(shape, type).write(data)
  }

  /** A tensor over memory that somebody else owns; `storage.release` is called with its last user. @internal */
  wrap(shape: Shape, dtype: DType, address: number, storage: Storage): Tensor {
    return this.track(new Tensor(this, dtype, shape, address, storage))
  }

  /** Opens a scope: tensors made from now on are disposed of with it. */
  scope(): Scope {
    const scope = new Scope((s) => {
      const at = this.#scopes.lastIndexOf(s)
      if (at >= 0) this.#scopes.splice(at, 1)
    })
    this.#scopes.push(scope)
    return scope
  }

  /** Runs `fn` in a scope of its own; what it returns (a tensor, or arrays and plain objects of them) is kept. */
  tidy<T>(fn: () => T): T {
    using scope = this.scope()
    const result = fn()
    for (const t of tensorsIn(result)) this.#outer(scope.keep(t), scope)
    return result
  }

  /** Runs `fn` outside every scope: what it makes lives until it is disposed of (parameters, gradients, caches). */
  persistent<T>(fn: () => T): T {
    const scopes = this.#scopes.splice(0)
    try {
      return fn()
    } finally {
      this.#scopes.unshift(...scopes)
    }
  }

  /** Hands a kept tensor to the scope around `inner`, if there is one. */
  #outer(tensor: Tensor, inner: Scope): void {
    this.#scopes[this.#scopes.lastIndexOf(inner) - 1]?.add(tensor)
  }

  /** @internal registers a tensor with the innermost scope */
  track<T extends Tensor>(tensor: T): T {
    this.#scopes.at(-1)?.add(tensor)
    return tensor
  }

  /** Resolves when everything enqueued so far has run; rejects with the first error among it. */
  async synchronize(): Promise<void> {
    this.#assertOpen()
    await this.#native.synchronize().catch(rethrow)
  }

  /** Live, peak, reserved and workspace bytes. */
  memory(): MemoryStats {
    return this.#native.memory()
  }

  /** Sets the peak back to what is live now. */
  resetPeakMemory(): void {
    this.#native.resetPeak()
  }

  /**
   * Times every kernel that `work` enqueues, and waits for them.
   * @returns calls and seconds by kernel name, the costliest first
   */
  async profile(work: () => unknown): Promise<[kernel: string, timing: KernelTiming][]> {
    this.#assertOpen()
    this.#native.profile(true)
    await work()
    await this.synchronize()
    this.#native.profile(false)
    return Object.entries(this.#native.timings()).sort(([, a], [, b]) => b.seconds - a.seconds)
  }

  /** @internal */
  upload(address: number, data: Uint8Array): void {
    this.#assertOpen()
    if (data.byteLength === 0) return
    try {
      this.#native.upload(address, data)
    } catch (error) {
      rethrow(error)
    }
  }

  /** Copies from a mapped file, whose pages come in meanwhile. @internal */
  uploadMapped(address: number, mapped: number, bytes: number): void {
    this.#assertOpen()
    if (bytes === 0) return
    try {
      this.#native.uploadMapped(address, mapped, bytes)
    } catch (error) {
      rethrow(error)
    }
  }

  /** @internal */
  async download(address: number, bytes: number): Promise<ArrayBuffer> {
    this.#assertOpen()
    if (bytes === 0) {
      await this.#native.synchronize().catch(rethrow)
      return new ArrayBuffer(0)
    }
    return this.#native.download(address, bytes).catch(rethrow)
  }

  /** Maps a file read-only. @internal */
  mapFile(path: string): { address: number; bytes: number; unmap: () => void } {
    this.#assertOpen()
    try {
      const { address, bytes } = this.#native.mapFile(path)
      return { address, bytes, unmap: () => this.#closed || this.#native.unmapFile(address, bytes) }
    } catch (error) {
      return rethrow(error)
    }
  }

  /** Waits for the work enqueued so far, then stops the threads and gives all memory back. Nothing can be enqueued any more from the call on. */
  close(): Promise<void> {
    this.#closing ??= this.#finish()
    return this.#closing
  }

  async #finish(): Promise<void> {
    this.#closed = true
    await this.#native.synchronize().catch(() => undefined)
    this.#native.close()
  }

  #free(address: number): void {
    if (!this.#closed) this.#native.free(address)
  }

  #assertOpen(): void {
    if (this.#closed) throw new DeviceError('ERR_CLOSED', 'the device was closed; open another with Device.open()')
  }

  #outOfMemory(shape: Shape, dtype: DType, bytes: number): OutOfMemoryError {
    const { live, reserved, budget } = this.memory()
    const limit = budget ? `, the budget ${mib(budget)}` : ''
    return new OutOfMemoryError(
      `out of memory: ${mib(bytes)} asked for ${dtype} ${shapeText(shape)} while ${mib(live)} are live (reserved ${mib(reserved)}${limit}); ` +
        'use a smaller batch or shorter samples, accumulate gradients, turn recomputation on, or raise the budget',
    )
  }
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

function opened(...args: ConstructorParameters<ReturnType<typeof addon>['NativeDevice']>): NativeDevice {
  try {
    return new (addon().NativeDevice)(...args)
  } catch (error) {
    return rethrow(error)
  }
}

function threadCount(option: number | undefined, hardware: number): number {
  const wanted = option ?? (process.env.LANTERN_THREADS ? Number(process.env.LANTERN_THREADS) : hardware)
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > 1024)
    throw new DeviceError(
      'ERR_OPTION',
      `${wanted} is no number of threads; give an integer from 1 to 1024 (option threads, or LANTERN_THREADS)`,
    )
  return wanted
}

function addressOf(value: Tensor | number | null): number {
  if (value === null) return 0
  if (typeof value === 'number') return value
  value.assertLive()
  return value.address
}

/** A 64-bit integer of up to 53 bits, without BigInt: this is on the path of every op call. */
function writeInteger(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32)
  view.setUint32(at, value - high * 2 ** 32, true)
  view.setInt32(at + 4, high, true)
}

function* tensorsIn(value: unknown): Generator<Tensor> {
  if (value instanceof Tensor) yield value
  else if (Array.isArray(value)) for (const v of value) yield* tensorsIn(v)
  else if (value && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype)
    for (const v of Object.values(value)) yield* tensorsIn(v)
}

function rethrow(error: unknown): never {
  const { code, message } = error as { code?: string; message: string }
  if (code === 'ERR_OUT_OF_MEMORY') throw new OutOfMemoryError(message)
  throw new DeviceError(code ?? 'ERR_DEVICE', message, { cause: error })
}
