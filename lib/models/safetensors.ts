import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { CheckpointError, DTypeError } from '../errors.js'
import { writeStreamAtomic } from '../files.js'
import type { Device } from '../tensor/device.js'
import { type DType, dtypeBytes, elements, narrow, type Storage, type Tensor, widen } from '../tensor/tensor.js'
import { widenHalf } from './half.js'
import {
  type Header,
  headerLength,
  PREFIX_BYTES,
  parseHeader,
  type StoredDType,
  type TensorInfo,
} from './safetensorsHeader.js'

/** What a stored dtype becomes on a device. */
const DEVICE_DTYPE: Partial<Record<StoredDType, DType>> = {
  F32: 'float32',
  BF16: 'bfloat16',
  I32: 'int32',
  F16: 'float32',
  F64: 'float32',
}

/** How a device dtype is stored. */
const STORED_DTYPE = { float32: 'F32', bfloat16: 'BF16', int32: 'I32' } as const satisfies Record<DType, StoredDType>

/** Bytes that pass through JavaScript at a time when tensors are converted or written; a multiple of every element. */
const CHUNK_BYTES = 2 ** 22

/**
 * A safetensors file mapped into memory: opening costs the header, tensors are views of the mapping, and pages are read when ops touch them.
 * The mapping is released when the file is closed and the last of its tensors is disposed of, whichever comes later.
 */
export class SafetensorsFile {
  readonly path: string
  readonly device: Device
  /** Names of the tensors, in the order of the file's data. */
  readonly names: readonly string[]
  readonly metadata: Readonly<Record<string, string>>
  readonly #tensors: ReadonlyMap<string, TensorInfo>
  readonly #base: number
  readonly #storage: Storage
  #descriptor: number | null

  /** @internal use openSafetensors */
  constructor(device: Device, path: string, descriptor: number, header: Header, base: number, unmap: () => void) {
    this.device = device
    this.path = path
    this.names = [...header.tensors.keys()]
    this.metadata = header.metadata
    this.#tensors = header.tensors
    this.#base = base
    this.#descriptor = descriptor
    const token = {}
    this.#storage = {
      users: 1, // the file itself
      release: () => {
        mappings.unregister(token)
        unmap()
      },
    }
    mappings.register(this.#storage, unmap, token)
    descriptors.register(this, descriptor, this)
  }

  /** Whether there is a tensor of that name. */
  has(name: string): boolean {
    return this.#tensors.has(name)
  }

  /** Stored dtype, shape, offset and bytes of a tensor. @throws CheckpointError when there is none of that name. */
  info(name: string): TensorInfo {
    const info = this.#tensors.get(name)
    if (!info)
      throw new CheckpointError(
        'ERR_CHECKPOINT_MISSING',
        this.path,
        `there is no tensor ${JSON.stringify(name)}; .names lists what there is`,
      )
    return info
  }

  /**
   * A tensor over the mapping, of the scope that is open: F32 as float32, BF16 as bfloat16, I32 as int32. It is read-only memory: copy it
   * before an op writes to it in place. F16 and F64 become float32, and data at an offset that its dtype cannot be read at is copied; both
   * take device memory, now, as every tensor does on a GPU.
   * @throws CheckpointError for a name or dtype that does not work, or when the file was closed. OutOfMemoryError
   */
  tensor(name: string): Tensor {
    const info = this.info(name)
    if (this.#descriptor === null)
      throw new CheckpointError(
        'ERR_CHECKPOINT_CLOSED',
        this.path,
        'the file was closed; open it again with openSafetensors()',
      )
    const dtype = DEVICE_DTYPE[info.dtype]
    if (!dtype)
      throw new CheckpointError(
        'ERR_CHECKPOINT_DTYPE',
        this.path,
        `${name} is stored as ${info.dtype}, which no op takes; save it as F32, F16, BF16 or I32`,
      )
    const stored = info.dtype === STORED_DTYPE[dtype]
    const address = this.#base + info.offset
    if (stored && !this.device.readsHostMemory) return this.#uploaded(info, dtype, address)
    if (stored && address % dtypeBytes(dtype) === 0) return this.device.wrap(info.shape, dtype, address, this.#storage)
    return this.#copied(name, info, dtype, this.#descriptor)
  }

  /** Closes the file. Its tensors stay valid. Closing twice is harmless. */
  close(): void {
    if (this.#descriptor === null) return
    descriptors.unregister(this)
    closeSync(this.#descriptor)
    this.#descriptor = null
    if (--this.#storage.users === 0) this.#storage.release()
  }

  /** As `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }

  #uploaded(info: TensorInfo, dtype: DType, address: number): Tensor {
    const tensor = this.device.empty(info.shape, dtype)
    try {
      this.device.uploadMapped(tensor.address, address, info.bytes)
      return tensor
    } catch (error) {
      tensor.dispose()
      throw error
    }
  }

  #copied(name: string, info: TensorInfo, dtype: DType, descriptor: number): Tensor {
    const tensor = this.device.empty(info.shape, dtype)
    try {
      let address = tensor.address
      for (let at = 0; at < info.bytes; at += CHUNK_BYTES) {
        const chunk = new Uint8Array(Math.min(CHUNK_BYTES, info.bytes - at))
        readFully(descriptor, chunk, info.offset + at, this.path)
        const data = asDevice(chunk.buffer, info.dtype)
        this.device.upload(address, data)
        address += data.byteLength
      }
      return tensor
    } catch (cause) {
      tensor.dispose()
      if (cause instanceof CheckpointError) throw cause
      throw new CheckpointError(
        'ERR_CHECKPOINT_READ',
        this.path,
        `${name} cannot be read (${(cause as Error).message}); check the disk`,
        { cause },
      )
    }
  }
}

/** The nets below close(): what is forgotten is given back when it is collected. */
const mappings = new FinalizationRegistry<() => void>((unmap) => unmap())
const descriptors = new FinalizationRegistry<number>((descriptor) => closeSync(descriptor))

/**
 * Maps a safetensors file. Only its header is read and checked, so that gigabytes open in milliseconds.
 * The file must not be changed in place while it is mapped; replacing it (as this library does) is safe.
 * @throws CheckpointError for a file that cannot be read, is cut short, or whose header lies.
 */
export function openSafetensors(device: Device, path: string): SafetensorsFile {
  const descriptor = openFile(path)
  try {
    const header = readHeader(descriptor, path)
    const { size, ino } = fstatSync(descriptor)
    const mapping = device.mapFile(path)
    if (mapping.bytes !== size || statSync(path).ino !== ino) {
      mapping.unmap()
      throw new CheckpointError('ERR_CHECKPOINT_READ', path, 'it was replaced while it was being opened; open it again')
    }
    return new SafetensorsFile(device, path, descriptor, header, mapping.address, mapping.unmap)
  } catch (error) {
    closeSync(descriptor)
    throw error
  }
}

function openFile(path: string): number {
  try {
    const descriptor = openSync(path, 'r')
    if (fstatSync(descriptor).isFile()) return descriptor
    closeSync(descriptor)
  } catch (cause) {
    throw new CheckpointError(
      'ERR_CHECKPOINT_READ',
      path,
      `it cannot be opened (${(cause as Error).message}); check the path`,
      { cause },
    )
  }
  throw new CheckpointError('ERR_CHECKPOINT_READ', path, 'it is no regular file; name a .safetensors file')
}

function readHeader(descriptor: number, path: string): Header {
  const { size } = fstatSync(descriptor)
  const prefix = new Uint8Array(Math.min(PREFIX_BYTES, size))
  readFully(descriptor, prefix, 0, path)
  const json = new Uint8Array(headerLength(prefix, size, path))
  readFully(descriptor, json, PREFIX_BYTES, path)
  return parseHeader(json, size, path)
}

function readFully(descriptor: number, into: Uint8Array, position: number, path: string): void {
  for (let at = 0; at < into.byteLength; ) {
    const n = readSync(descriptor, into, at, into.byteLength - at, position + at)
    if (n === 0)
      throw new CheckpointError(
        'ERR_CHECKPOINT_TRUNCATED',
        path,
        'it was cut short while it was being read; copy it again',
      )
    at += n
  }
}

function asDevice(buffer: ArrayBuffer, dtype: StoredDType): Uint8Array {
  if (dtype === 'F16') return new Uint8Array(widenHalf(new Uint16Array(buffer)).buffer)
  if (dtype === 'F64') return new Uint8Array(Float32Array.from(new Float64Array(buffer)).buffer)
  return new Uint8Array(buffer)
}

/** Values of a tensor on the host. F16 and BF16 are widened to float32, BOOL is bytes of 0 and 1. */
export type HostArray =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array

/** A tensor read to the host. */
export interface HostTensor {
  shape: readonly number[]
  dtype: StoredDType
  data: HostArray
}

const HOST_ARRAY: Partial<Record<StoredDType, (b: ArrayBuffer) => HostArray>> = {
  F64: (b) => new Float64Array(b),
  F32: (b) => new Float32Array(b),
  F16: (b) => widenHalf(new Uint16Array(b)),
  BF16: (b) => widen(new Uint16Array(b)),
  I64: (b) => new BigInt64Array(b),
  U64: (b) => new BigUint64Array(b),
  I32: (b) => new Int32Array(b),
  U32: (b) => new Uint32Array(b),
  I16: (b) => new Int16Array(b),
  U16: (b) => new Uint16Array(b),
  I8: (b) => new Int8Array(b),
  U8: (b) => new Uint8Array(b),
  BOOL: (b) => new Uint8Array(b),
}

/**
 * Reads a whole file to the host, without a device: for small files such as fixtures and optimiser counters.
 * @throws CheckpointError
 */
export function readSafetensorsSync(path: string): Record<string, HostTensor> {
  const descriptor = openFile(path)
  try {
    const { tensors } = readHeader(descriptor, path)
    const read = ([name, { dtype, shape, offset, bytes }]: [string, TensorInfo]): [string, HostTensor] => {
      const view = HOST_ARRAY[dtype]
      if (!view)
        throw new CheckpointError(
          'ERR_CHECKPOINT_DTYPE',
          path,
          `${name} is stored as ${dtype}, which cannot be read; save it as F32`,
        )
      const chunk = new Uint8Array(bytes)
      readFully(descriptor, chunk, offset, path)
      return [name, { shape, dtype, data: view(chunk.buffer) }]
    }
    return Object.fromEntries([...tensors].map(read))
  } finally {
    closeSync(descriptor)
  }
}

/** A tensor to be written. */
export interface NamedTensor {
  name: string
  tensor: Tensor
  /** Storage in the file; default: the tensor's own. float32 and bfloat16 convert into each other. */
  dtype?: DType
}

/**
 * Writes tensors of a device to a file, one after the other, at most a few dozen megabytes of them on the host at a time.
 * They must not change until the promise resolves. Atomic: a failure leaves the old file as it was.
 * @throws FileError (ERR_DISK_FULL names the free space), CheckpointError for names that clash, DTypeError
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly NamedTensor[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  // Wide elements first: whatever the sizes, every tensor then starts at a multiple of its element.
  const ordered = tensors.map(resolved).sort((a, b) => dtypeBytes(b.dtype) - dtypeBytes(a.dtype))
  const header = encodeHeader(path, ordered, metadata)
  await writeStreamAtomic(path, async (sink) => {
    await sink.write(header)
    for (const { tensor, dtype } of ordered) for await (const piece of pieces(tensor, dtype)) await sink.write(piece)
  })
}

/** Bytes that a tensor takes in a file. */
export const storedBytes = ({ tensor, dtype = tensor.dtype }: NamedTensor): number => tensor.size * dtypeBytes(dtype)

function resolved({ name, tensor, dtype = tensor.dtype }: NamedTensor): Required<NamedTensor> {
  tensor.assertLive()
  if (dtype !== tensor.dtype && (dtype === 'int32' || tensor.dtype === 'int32'))
    throw new DTypeError(
      `writeSafetensors: ${name} is ${tensor.dtype} and cannot be stored as ${dtype}; leave dtype out`,
    )
  return { name, tensor, dtype }
}

function encodeHeader(
  path: string,
  tensors: readonly Required<NamedTensor>[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries = new Map<string, unknown>([['__metadata__', metadata]])
  let at = 0
  for (const { name, tensor, dtype } of tensors) {
    if (entries.has(name))
      throw new CheckpointError(
        'ERR_CHECKPOINT_NAME',
        path,
        `${JSON.stringify(name)} is given twice or reserved; rename one`,
      )
    const end = at + elements(tensor.shape) * dtypeBytes(dtype)
    entries.set(name, { dtype: STORED_DTYPE[dtype], shape: tensor.shape, data_offsets: [at, end] })
    at = end
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  // Padded with spaces so that the data starts at a cache line.
  const out = Buffer.alloc(Math.ceil((PREFIX_BYTES + json.byteLength) / 64) * 64, ' ')
  out.writeBigUInt64LE(BigInt(out.byteLength - PREFIX_BYTES), 0)
  json.copy(out, PREFIX_BYTES)
  return out
}

async function* pieces(tensor: Tensor, dtype: DType): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < tensor.bytes; at += CHUNK_BYTES) {
    tensor.assertLive()
    const buffer = await tensor.device.download(tensor.address + at, Math.min(CHUNK_BYTES, tensor.bytes - at))
    if (dtype === tensor.dtype) yield new Uint8Array(buffer)
    else if (dtype === 'bfloat16') yield new Uint8Array(narrow(new Float32Array(buffer)).buffer)
    else yield new Uint8Array(widen(new Uint16Array(buffer)).buffer)
  }
}
