import { existsSync } from 'node:fs'
import { mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ArgumentError } from '../errors.js'
import { fileError, writeAll } from '../files.js'
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
  /** Called after every chunk with the labelled tokens written and wanted. */
  onProgress?: (tokens: number, total: number) => void
}

/**
 * Runs a teacher over samples and writes what it says of every labelled token, once. Chunks go to `path`.partial, which takes the name when it
 * is complete; a call that finds one made from the same keeps its intact chunks and goes on after them.
 * @returns the error against the full distributions; null when it was interrupted
 * @throws ArgumentError for a topK or temperature out of range; FileError
 */
export async function writeTeacherSignal(options: WriteTeacherSignal): Promise<SignalError | null> {
  const { path, samples, identity, signal, onProgress, chunkTokens = 1024 } = options
  const { topK, temperature, vocabulary } = identity
  if (!(Number.isInteger(topK) && topK >= 1 && topK < vocabulary))
    throw new ArgumentError(`teacher signal: topK is ${topK}; give 1 to ${vocabulary - 1}, less than the vocabulary`)
  if (!(temperature > 0 && Number.isFinite(temperature)))
    throw new ArgumentError(`teacher signal: temperature is ${temperature}; give a positive number`)
  const tokens = samples.reduce((n, s) => n + weightOf(s), 0)
  const header: TeacherSignalHeader = {
    format: 'lantern-teacher-signal',
    version: 1,
    ...identity,
    tokens,
    chunkTokens,
    error: null,
  }
  const partial = `${path}.partial`
  await mkdir(dirname(path), { recursive: true })
  const kept = keptChunks(partial, header)
  const handle = await open(partial, kept > 0 ? 'r+' : 'w+')
  try {
    await writeAll(handle, encodeHeader(header), 0)
    let chunk = kept
    let pending = Buffer.alloc(0)
    const from = kept * chunkTokens
    for await (const records of teacherRecords(options, from)) {
      pending = Buffer.concat([pending, records])
      for (;;) {
        const place = chunk < chunkCount(header) ? chunkPlace(header, chunk) : null
        const bytes = place ? place.tokens * 4 * recordWords(topK) : 0
        if (!place || pending.length < bytes) break
        await writeAll(handle, sealed(pending.subarray(0, bytes)), place.at)
        pending = pending.subarray(bytes)
        chunk++
        onProgress?.(Math.min(tokens, chunk * chunkTokens), tokens)
      }
      if (signal?.aborted && chunk < chunkCount(header)) return null
    }
    const last = chunkPlace(header, chunkCount(header) - 1)
    await handle.truncate(last.at + last.bytes)
    const error = measure(partial)
    await writeAll(handle, encodeHeader({ ...header, error }), 0)
    await handle.sync()
    await rename(partial, path)
    return error
  } catch (error) {
    throw await fileError(error, path)
  } finally {
    await handle.close()
  }
}

/** Intact chunks at the start of an unfinished file that was made from the same. */
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
      yield records(logits.subarray(Math.max(0, skip - i) * identity.vocabulary), identity)
    }
  }
}

/** Records of rows of logits: sums in float64. */
function records(logits: Float32Array, { topK, temperature, vocabulary }: TeacherSignalIdentity): Buffer {
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
