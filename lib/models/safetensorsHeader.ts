import { CheckpointError } from '../errors.js'

/** Bytes of one element of every dtype that the format knows and that fills whole bytes. */
export const STORED_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const

/** A dtype as the header names it. */
export type StoredDType = keyof typeof STORED_BYTES

/** One tensor of a safetensors file. */
export interface TensorInfo {
  dtype: StoredDType
  shape: readonly number[]
  /** First byte, from the start of the file. */
  offset: number
  bytes: number
}

/** What a checked header says. */
export interface Header {
  /** In the order of the file's data. */
  tensors: ReadonlyMap<string, TensorInfo>
  metadata: Readonly<Record<string, string>>
}

/** The format's own limit, so that a hostile length cannot make a reader allocate without bound. */
export const MAX_HEADER_BYTES = 100_000_000

/** Bytes before the header: its length, little-endian 64-bit. */
export const PREFIX_BYTES = 8

const METADATA = '__metadata__'

/**
 * The header's length from the first bytes of a file.
 * @throws CheckpointError when the file cannot hold it.
 */
export function headerLength(prefix: Uint8Array, fileBytes: number, file: string): number {
  if (fileBytes < PREFIX_BYTES || prefix.byteLength < PREFIX_BYTES)
    throw truncated(file, `it has ${fileBytes} bytes, fewer than the 8 that every safetensors file starts with`)
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true)
  if (length > MAX_HEADER_BYTES)
    throw new CheckpointError(
      'ERR_CHECKPOINT_HEADER',
      file,
      `the header claims ${length} bytes, above the format's limit of ${MAX_HEADER_BYTES}; this is no safetensors file, or it is damaged: download it again`,
    )
  if (Number(length) > fileBytes - PREFIX_BYTES)
    throw truncated(file, `the header claims ${length} bytes, but only ${fileBytes - PREFIX_BYTES} follow`)
  return Number(length)
}

/**
 * Parses and checks a header: every tensor known, within the file, side by side without overlap or hole.
 * @param bytes the JSON, without the length before it
 * @throws CheckpointError
 */
export function parseHeader(bytes: Uint8Array, fileBytes: number, file: string): Header {
  const bad = (problem: string) =>
    new CheckpointError(
      'ERR_CHECKPOINT_HEADER',
      file,
      `${problem}; the file is damaged or was written wrongly: download or save it again`,
    )
  const json = parseJson(bytes, bad)
  const dataStart = PREFIX_BYTES + bytes.byteLength
  const tensors: [string, TensorInfo][] = []
  let metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(json)) {
    if (name === METADATA) metadata = checkMetadata(value, bad)
    else tensors.push([name, checkTensor(name, value, dataStart, fileBytes, file, bad)])
  }
  tensors.sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes)
  checkLayout(tensors, dataStart, fileBytes, bad)
  return { tensors: new Map(tensors), metadata }
}

type Bad = (problem: string) => CheckpointError

function parseJson(bytes: Uint8Array, bad: Bad): Record<string, unknown> {
  let problem: string | null
  let json: unknown
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    problem = structureProblem(text)
    json = problem === null && JSON.parse(text)
  } catch {
    problem = 'is no JSON'
  }
  if (problem !== null) throw bad(`the header ${problem}`)
  if (!isObject(json)) throw bad('the header is no JSON object')
  return json
}

function checkMetadata(value: unknown, bad: Bad): Record<string, string> {
  if (!isObject(value)) throw bad(`${METADATA} is no object`)
  for (const [key, v] of Object.entries(value)) if (typeof v !== 'string') throw bad(`${METADATA}.${key} is no string`)
  return value as Record<string, string>
}

function checkTensor(
  name: string,
  value: unknown,
  dataStart: number,
  fileBytes: number,
  file: string,
  bad: Bad,
): TensorInfo {
  const q = quote(name)
  if (!isObject(value)) throw bad(`the entry of ${q} is no object`)
  const { dtype, shape, data_offsets: offsets } = value
  if (typeof dtype !== 'string') throw bad(`${q} has no dtype`)
  if (!Object.hasOwn(STORED_BYTES, dtype))
    throw new CheckpointError(
      'ERR_CHECKPOINT_DTYPE',
      file,
      `${q} has the unknown dtype ${quote(dtype)}; save the model as F32, F16 or BF16`,
    )
  const stored = dtype as StoredDType
  if (!Array.isArray(shape) || !shape.every(isCount))
    throw bad(`${q} has a shape that is no list of integers of 0 or more`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw bad(`${q} has data_offsets that are no pair of integers of 0 or more`)
  const [begin, end] = offsets as [number, number]
  if (begin > end) throw bad(`${q} ends at ${end}, before its begin at ${begin}`)
  if (end > fileBytes - dataStart)
    throw truncated(file, `${q} ends at byte ${end} of the data, but the file holds ${fileBytes - dataStart}`)
  const bytes = byteLength(shape as number[], STORED_BYTES[stored])
  if (bytes === null) throw bad(`${q} has a shape whose size overflows`)
  if (bytes !== end - begin)
    throw bad(`${q} is ${stored} [${shape.join(', ')}], ${bytes} bytes, but takes ${end - begin}`)
  return { dtype: stored, shape: shape as number[], offset: dataStart + begin, bytes }
}

/** Data must be claimed once and wholly: what overlaps or lies unclaimed can smuggle content past a scanner. */
function checkLayout(tensors: readonly [string, TensorInfo][], dataStart: number, fileBytes: number, bad: Bad): void {
  let at = dataStart
  for (const [name, { offset, bytes }] of tensors) {
    if (offset < at) throw bad(`${quote(name)} overlaps the tensor before it`)
    if (offset > at) throw bad(`${offset - at} bytes before ${quote(name)} belong to no tensor`)
    at += bytes
  }
  if (at < fileBytes) throw bad(`${fileBytes - at} bytes at the end belong to no tensor`)
}

/** Elements times width, null when it is beyond exact integers. */
function byteLength(shape: readonly number[], width: number): number | null {
  let n = width
  for (const d of shape) {
    n *= d
    if (!Number.isSafeInteger(n)) return null
  }
  return n
}

/** Header, entry, shape: nothing in a header lies deeper. */
const MAX_DEPTH = 3

/**
 * What JSON.parse would let pass: a key that stands twice in an object (it keeps the last), and nesting without bound (it gets slow).
 * @throws SyntaxError for a text that is no JSON; most of them are left to JSON.parse
 */
function structureProblem(text: string): string | null {
  const open: (Set<string> | null)[] = []
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '{') open.push(new Set())
    else if (c === '[') open.push(null)
    else if (c === '}' || c === ']') open.pop()
    else if (c === '"') {
      const end = stringEnd(text, i)
      const keys = open.at(-1)
      if (keys && isKey(text, end)) {
        const key = JSON.parse(text.slice(i, end)) as string
        if (keys.has(key)) return `names ${quote(key)} twice`
        keys.add(key)
      }
      i = end - 1
    }
    if (open.length > MAX_DEPTH) return 'is nested too deeply'
  }
  return null
}

/** Index after the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  let i = start + 1
  while (i < text.length && text[i] !== '"') i += text[i] === '\\' ? 2 : 1
  return i + 1
}

function isKey(text: string, at: number): boolean {
  let i = at
  while (text[i] === ' ' || text[i] === '\n' || text[i] === '\r' || text[i] === '\t') i++
  return text[i] === ':'
}

const truncated = (file: string, problem: string): CheckpointError =>
  new CheckpointError('ERR_CHECKPOINT_TRUNCATED', file, `${problem}; it is cut short: download or copy it again`)

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** A name out of a file, safe and short enough for a message. */
const quote = (name: string): string => JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}...` : name)
