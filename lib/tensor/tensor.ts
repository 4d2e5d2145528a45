import { DeviceError, DTypeError, ShapeError } from '../errors.js'
import type { Device } from './device.js'

/** Storage types. Every accumulation is float32, whatever the storage. */
export type DType = 'float32' | 'bfloat16' | 'int32'

/** Storage types of real numbers. */
export type FloatDType = Exclude<DType, 'int32'>

/** Sizes of the dimensions, outermost first. */
export type Shape = readonly number[]

const CODES: Record<DType, number> = { float32: 0, bfloat16: 1, int32: 2 }

/** The number that kernels know a dtype by. */
export const dtypeCode = (dtype: DType): number => CODES[dtype]

/** Bytes of one element. */
export const dtypeBytes = (dtype: DType): number => (dtype === 'bfloat16' ? 2 : 4)

/** Number of elements of a shape. */
export const elements = (shape: Shape): number => shape.reduce((n, d) => n * d, 1)

/** `[2, 3]` as text, for messages. */
export const shapeText = (shape: Shape): string => `[${shape.join(', ')}]`

/** What a tensor's memory belongs to: a block of the allocator, or a mapped file that outlives it. */
export interface Storage {
  release(): void
  /** Tensors that share the storage; it is released with the last of them. */
  users: number
}

/**
 * A dense row-major array on a device. Ops return at once; the values exist when the stream gets there. `await tensor.read()` waits.
 * Memory is given back by `dispose()`, by the scope or tape that the tensor belongs to, or at last by the garbage collector.
 */
export class Tensor {
  readonly device: Device
  readonly dtype: DType
  readonly shape: Shape
  /** Number of elements. */
  readonly size: number
  /** Device address of the first element. */
  readonly address: number
  /** Whether backward rules shall compute a gradient for it. */
  requiresGrad = false
  /** Gradient of a leaf, float32 of the same shape, once a backward pass has reached it. */
  grad: Tensor | null = null
  #storage: Storage | null

  /** @internal use Device.tensor, zeros or empty */
  constructor(device: Device, dtype: DType, shape: Shape, address: number, storage: Storage) {
    this.device = device
    this.dtype = dtype
    this.shape = shape
    this.size = elements(shape)
    this.address = address
    this.#storage = storage
    storage.users++
  }

  /** Whether its memory was given back; it can then no longer be used. */
  get disposed(): boolean {
    return this.#storage === null
  }

  /** Bytes of the elements. */
  get bytes(): number {
    return this.size * dtypeBytes(this.dtype)
  }

  /** Size of dimension `axis`; negative counts from the end. */
  dim(axis: number): number {
    const d = this.shape.at(axis)
    if (d === undefined) throw new ShapeError(`a tensor of shape ${shapeText(this.shape)} has no dimension ${axis}`)
    return d
  }

  /**
   * The values, copied to the host when the stream gets there: Int32Array for int32, else Float32Array (bfloat16 is widened).
   * Rejects with a DeviceError when an op before it failed.
   */
  async read(): Promise<Float32Array | Int32Array> {
    this.assertLive()
    const buffer = await this.device.download(this.address, this.bytes)
    if (this.dtype === 'int32') return new Int32Array(buffer)
    if (this.dtype === 'float32') return new Float32Array(buffer)
    return widen(new Uint16Array(buffer))
  }

  /** As `read`, for a float tensor. */
  async floats(): Promise<Float32Array> {
    if (this.dtype === 'int32') throw new DTypeError('floats: the tensor is int32; call ints() or read()')
    return (await this.read()) as Float32Array
  }

  /** As `read`, for an int32 tensor. */
  async ints(): Promise<Int32Array> {
    if (this.dtype !== 'int32') throw new DTypeError(`ints: the tensor is ${this.dtype}; call floats() or read()`)
    return (await this.read()) as Int32Array
  }

  /** The single value of a one-element tensor. */
  async item(): Promise<number> {
    if (this.size !== 1) throw new ShapeError(`item: the tensor is ${shapeText(this.shape)}; read() gives all values`)
    return (await this.read())[0]!
  }

  /** Overwrites the values from the host, in stream order. */
  write(data: ArrayLike<number>): this {
    this.assertLive()
    if (data.length !== this.size)
      throw new ShapeError(`write: ${data.length} values for a tensor of shape ${shapeText(this.shape)} (${this.size})`)
    this.device.upload(this.address, encode(data, this.dtype))
    return this
  }

  /** The same memory under another shape of as many elements. */
  view(shape: Shape): Tensor {
    this.assertLive()
    if (elements(shape) !== this.size)
      throw new ShapeError(
        `view: ${shapeText(this.shape)} has ${this.size} elements, ${shapeText(shape)} has not; give as many`,
      )
    return this.#share(shape, this.address)
  }

  /** Rows [start, end) of the first dimension, sharing the memory. */
  rows(start: number, end: number): Tensor {
    this.assertLive()
    const [n, ...rest] = this.shape
    if (n === undefined || start < 0 || end > n || start > end)
      throw new ShapeError(`rows: [${start}, ${end}) is not within the first dimension of ${shapeText(this.shape)}`)
    return this.#share([end - start, ...rest], this.address + start * elements(rest) * dtypeBytes(this.dtype))
  }

  #share(shape: Shape, address: number): Tensor {
    const t = new Tensor(this.device, this.dtype, shape, address, this.#storage!)
    this.device.track(t)
    return t
  }

  /** Gives the memory back in stream order: ops already enqueued still see it. Disposing twice is harmless. */
  dispose(): void {
    const storage = this.#storage
    if (!storage) return
    this.#storage = null
    if (--storage.users === 0) storage.release()
  }

  /** As `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Does nothing for a tensor that can be used. @throws DeviceError when it was disposed of. */
  assertLive(): void {
    if (!this.#storage)
      throw new DeviceError(
        'ERR_DISPOSED',
        `a tensor of shape ${shapeText(this.shape)} is used after it was disposed of; keep it with scope.keep()`,
      )
  }
}

/** Values as the bytes of a dtype; bfloat16 rounds to nearest even. */
export function encode(data: ArrayLike<number>, dtype: DType): Uint8Array {
  if (dtype === 'bfloat16') {
    if (data instanceof Uint16Array) return bytesOf(data) // bits as they are stored
    return bytesOf(narrow(data))
  }
  if (dtype === 'float32') return bytesOf(data instanceof Float32Array ? data : Float32Array.from(data))
  return bytesOf(data instanceof Int32Array ? data : Int32Array.from(data))
}

function bytesOf(a: Float32Array | Int32Array | Uint16Array): Uint8Array {
  return new Uint8Array(a.buffer, a.byteOffset, a.byteLength)
}

/** float32 to bfloat16 bits, to nearest even. */
export function narrow(data: ArrayLike<number>): Uint16Array {
  const wide = new Uint32Array((data instanceof Float32Array ? data.slice() : Float32Array.from(data)).buffer)
  const out = new Uint16Array(wide.length)
  for (let i = 0; i < wide.length; i++) {
    const u = wide[i]!
    out[i] = (u & 0x7fffffff) > 0x7f800000 ? (u >>> 16) | 0x40 : (u + 0x7fff + ((u >>> 16) & 1)) >>> 16
  }
  return out
}

/** bfloat16 bits to float32. */
export function widen(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length)
  for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16
  return new Float32Array(out.buffer)
}
