import { existsSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { ArgumentError } from '../errors.js'
import { fileError, requireSpace, withLock, writeAll } from '../files.js'
import type { Decoder } from '../models/decoder.js'
import { pack } from '../models/packed.js'
import { linear } from '../ops/linear.js'
import { gatherRows } from '../ops/pooling.js'
import { microBatches, type Sample, weightOf } from '../train/batches.js'
import {
  chunkCount,
  chunkPlace,
  encodeHeader,
  recordWords,
  type SignalError,
  sealed,
  TeacherSignal,
  TeacherSignalError,
  type TeacherSignalHeader,
  type TeacherSignalIdentity,
} from './teacherSignal.js'

/** How a file is written. */
export interface WriteTeacherSignal {
  path: string
  teacher: Decoder
  /** All samples, those of training first. */
  samples: readonly Sample[]
  identity: TeacherSignalIdentity
  /** Tokens that the teacher computes at once. */
  microBatchTokens: number
  /** Labelled tokens a chunk; default 1,024. */
  chunkTokens?: number
  /** Ends the work after the chunk in hand; what is written stays for the next call. */
  signal?: AbortSignal
  /** Called after every chunk with the labelled tokens that are written, that there are, and that were written before this call. */
  onProgress?: (tokens: number, total: number, before: number) => void
}

/** A file that is complete. */
export interface WrittenSignal {
  error: SignalError
  header: TeacherSignalHeader
  /** Whether it was there already, made from the same. */
  kept: boolean
}

/**
 * Runs a teacher over samples and writes what it says of every labelled token, once: a file that is there, intact and made from the same, is
 * kept. Chunks go to `path`.partial, which takes the name when it is complete; a call that finds one made from the same keeps its intact
 * chunks and goes on after them.
 * @returns null when it was interrupted
 * @throws ArgumentError for a topK or temperature out of range, or samples without a label; FileError, ERR_FILE_BUSY where another process
 *   writes the same file; TeacherSignalError ERR_SIGNAL_TEACHER for logits that are not finite
 */
export async function writeTeacherSignal(options: WriteTeacherSignal): Promise<WrittenSignal | null> {
  const header = headerOf(options)
  return await withLock(options.path, async () => {
    const before = complete(options.path, header)
    if (before) return { error: before, header, kept: true }
    const error = await writeChunks(options, header)
    return error && { error, header, kept: false }
  })
}

function headerOf({ identity, samples, chunkTokens = 1024 }: WriteTeacherSignal): TeacherSignalHeader {
  const { topK, temperature, vocabulary } = identity
  if (!(Number.isInteger(topK) && topK >= 1 && topK < vocabulary))
    throw new ArgumentError(`teacher signal: topK is ${topK}; give 1 to ${vocabulary - 1}, less than the vocabulary`)
  if (!(temperature > 0 && Number.isFinite(temperature)))
    throw new ArgumentError(`teacher signal: temperature is ${temperature}; give a positive number`)
  const tokens = samples.reduce((n, s) => n + weightOf(s), 0)
  if (tokens === 0) throw new ArgumentError('teacher signal: no sample has a label; give explanations to learn')
  return { format: 'lantern-teacher-signal', version: 1, ...identity, tokens, chunkTokens, error: null }
}

/** Writes the chunks that are not there yet, and then gives the file its name. */
async function writeChunks(options: WriteTeacherSignal, header: TeacherSignalHeader): Promise<SignalError | null> {
  const { path, signal, onProgress } = options
  const { tokens, chunkTokens, topK } = header
  const [partial, chunks] = [`${path}.partial`, chunkCount(header)]
  const kept = keptChunks(partial, header)
  const last = chunkPlace(header, chunks - 1)
  await requireSpace(path, last.at + last.bytes - (kept > 0 ? chunkPlace(header, kept).at : 0))
  let chunk = kept
  let pending = Buffer.alloc(0)
  try {
    await using handle = await open(partial, kept > 0 ? 'r+' : 'w+')
    await writeAll(handle, encodeHeader(header), 0)
    for await (const records of teacherRecords(options, kept * chunkTokens)) {
      pending = Buffer.concat([pending, records])
      for (;;) {
        const place = chunk < chunks ? chunkPlace(header, chunk) : null
        const bytes = place ? place.tokens * 4 * recordWords(topK) : 0
        if (!place || pending.length < bytes) break
        await writeAll(handle, sealed(pending.subarray(0, bytes)), place.at)
        pending = pending.subarray(bytes)
        chunk++
        onProgress?.(Math.min(tokens, chunk * chunkTokens), tokens, kept * chunkTokens)
      }
      if (signal?.aborted && chunk < chunks) return null
    }
    await handle.truncate(last.at + last.bytes)
    const error = measure(partial)
    await writeAll(handle, encodeHeader({ ...header, error }), 0)
    await handle.sync()
    await rename(partial, path)
    return error
  } catch (error) {
    throw await fileError(error, path, `${chunk} of ${chunks} chunks stay in ${partial}, and the same call goes on`)
  }
}

/** The error of a file that is there as a whole and was made from the same; null where there is none. */
function complete(path: string, header: TeacherSignalHeader): SignalError | null {
  if (keptChunks(path, header) < chunkCount(header)) return null
  using before = new TeacherSignal(path)
  return before.header.error
}

/** Intact chunks at the start of a file that was made from the same. */
function keptChunks(path: string, header: TeacherSignalHeader): number {
  if (!existsSync(path)) return 0
  try {
    using before = new TeacherSignal(path)
    if (JSON.stringify({ ...before.header, error: null }) !== JSON.stringify(header)) return 0
    let kept = 0
    while (kept < chunkCount(header) && before.intact(kept)) kept++
    return kept
  } catch {
    return 0 // not even a header: it is begun again
  }
}

/** Rows of logits that are read at once. */
const ROWS = 32

/** The records of the labelled tokens from number `from` on, a few at a time. Samples wholly before it are not computed. */
async function* teacherRecords(options: WriteTeacherSignal, from: number): AsyncGenerator<Buffer> {
  const { teacher, identity, samples, microBatchTokens } = options
  const { device } = teacher
  let at = 0
  for (const micro of microBatches(samples, microBatchTokens)) {
    const count = micro.reduce((n, s) => n + weightOf(s), 0)
    const skip = Math.min(count, Math.max(0, from - at))
    at += count
    if (skip === count) continue
    const rows = micro.flatMap((s) => Array.from(s.labels)).flatMap((y, i) => (y === -100 ? [] : [i]))
    using _scope = device.scope()
    const batch = pack(
      device,
      micro.map((s) => s.ids),
    )
    const hidden = teacher.forward(batch)
    const head = teacher.headWeight.rows(0, identity.vocabulary)
    const read = (i: number) => {
      using _inner = device.scope()
      const states = gatherRows(hidden, device.tensor(Int32Array.from(rows.slice(i, i + ROWS))))
      return linear(states, head, { dtype: 'float32' }).floats()
    }
    const first = skip - (skip % ROWS) // the same rows at once as ever, so that the bits are the same
    let next = read(first)
    for (let i = first; i < rows.length; i += ROWS) {
      const logits = await next
      if (i + ROWS < rows.length) {
        next = read(i + ROWS) // computed while these are looked through
        next.catch(() => undefined)
      }
      yield records(logits.subarray(Math.max(0, skip - i) * identity.vocabulary), options)
    }
  }
}

/** Records of rows of logits: sums in float64. */
function records(logits: Float32Array, { path, identity }: WriteTeacherSignal): Buffer {
  const { topK, temperature, vocabulary } = identity
  const words = recordWords(topK)
  const rows = logits.length / vocabulary
  const ints = new Int32Array(rows * words)
  const floats = new Float32Array(ints.buffer)
  for (let row = 0; row < rows; row++) {
    const z = logits.subarray(row * vocabulary, (row + 1) * vocabulary)
    const top = topIds(z, topK)
    const taken = new Set(top)
    const max = z[top[0]!]!
    let [tail, sum, weighted] = [0, 0, 0]
    for (let v = 0; v < vocabulary; v++) {
      const x = (z[v]! - max) / temperature
      const e = Math.exp(x)
      sum += e
      if (e > 0) weighted += e * x
      if (!taken.has(v)) tail += e
    }
    const logSum = Math.log(sum)
    if (!Number.isFinite(logSum))
      throw new TeacherSignalError(
        'ERR_SIGNAL_TEACHER',
        path,
        "not written: the teacher's logits are not finite; check its weights with lantern eval, or use --precision float32",
      )
    const at = row * words
    ints.set(top, at)
    top.forEach((v, i) => {
      floats[at + topK + i] = (z[v]! - max) / temperature - logSum
    })
    floats[at + 2 * topK] = Math.log(tail) - logSum
    floats[at + 2 * topK + 1] = logSum - weighted / sum
  }
  return Buffer.from(ints.buffer)
}

/** Ids of the k largest logits, the largest first; equal ones rank by id. A heap whose root is the least of the k. */
export function topIds(z: Float32Array, k: number): number[] {
  const heap: number[] = []
  const below = (a: number, b: number) => z[a]! < z[b]! || (z[a] === z[b] && a > b)
  const sift = (i: number): void => {
    for (;;) {
      let least = i
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && below(heap[child]!, heap[least]!)) least = child
      if (least === i) return
      ;[heap[i], heap[least]] = [heap[least]!, heap[i]!]
      i = least
    }
  }
  for (let v = 0; v < z.length; v++) {
    if (heap.length < k) {
      heap.push(v)
      if (heap.length === k) for (let i = k >> 1; i >= 0; i--) sift(i)
    } else if (z[v]! > z[heap[0]!]!) {
      heap[0] = v
      sift(0)
    }
  }
  return heap.sort((a, b) => z[b]! - z[a]! || a - b)
}

/** The means over a file whose chunks are all there. */
function measure(path: string): SignalError {
  using file = new TeacherSignal(path)
  const { topK, tokens, vocabulary, chunkTokens } = file.header
  const words = recordWords(topK)
  const logTailOfUniform = Math.log((vocabulary - topK) / vocabulary)
  let [tailMass, uniformGap] = [0, 0]
  for (let from = 0; from < tokens; from += chunkTokens) {
    const floats = new Float32Array(file.records(from, Math.min(tokens, from + chunkTokens)))
    for (let at = 0; at < floats.length; at += words) {
      let bucketed = 0
      for (let i = 0; i < topK; i++) {
        const l = floats[at + topK + i]!
        if (l > Number.NEGATIVE_INFINITY) bucketed += Math.exp(l) * (l + Math.log(vocabulary))
      }
      const logTail = floats[at + 2 * topK]!
      const tail = Math.exp(logTail)
      if (tail > 0) bucketed += tail * (logTail - logTailOfUniform)
      tailMass += tail
      uniformGap += Math.abs(Math.log(vocabulary) - floats[at + words - 1]! - bucketed)
    }
  }
  return { tailMass: tailMass / tokens, uniformGap: uniformGap / tokens }
}
