import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { LanternError } from '../errors.js'
import type { TopKTeacher } from '../ops/topKDivergence.js'
import { type Sample, weightOf } from '../train/batches.js'

/** A file of a teacher's signal that is damaged, or was made from something else than is asked for. */
export class TeacherSignalError extends LanternError {
  /** The file at fault. */
  readonly file: string

  constructor(code: string, file: string, problem: string, options?: ErrorOptions) {
    super(code, `${file}: ${problem}`, options)
    this.file = file
  }
}

/** What decides the content of a file: another value is another file. Hashes are SHA-256, hexadecimal. */
export interface TeacherSignalIdentity {
  /** What of a tokenizer decides the ids of a text. */
  tokenizer: string
  /** `modelDigest` of the teacher's folder. */
  teacher: string
  /** `samplesDigest` of all samples, those of training first. */
  data: string
  /** Probabilities that are kept of every token. */
  topK: number
  /** Softmax temperature. */
  temperature: number
  /** Ids that the distributions are over: those of the tokenizer, without the padding of the teacher's vocabulary. */
  vocabulary: number
  /** Longest sample, and what was done with longer ones. */
  maxLength: number
  longSamples: string
  /** Storage of the teacher's activations. */
  precision: string
  /** Version of the program that ran the teacher. */
  program: string
}

/** The header of a file. */
export interface TeacherSignalHeader extends TeacherSignalIdentity {
  format: 'lantern-teacher-signal'
  version: 1
  /** Labelled tokens in all. */
  tokens: number
  /** Tokens a chunk; the last may have fewer. */
  chunkTokens: number
  /** Mean mass of the tail, and mean of what the bucketed forward KL against a uniform student is short of the full one; null while it is written. */
  error: SignalError | null
}

/** How far the k probabilities are from the full distributions, as means over the tokens. */
export interface SignalError {
  tailMass: number
  /** |bucketed - full| of the forward KL against a uniform student, in nats. */
  uniformGap: number
}

/** SHA-256 of the ids and labels of samples, in their order. */
export function samplesDigest(samples: readonly Sample[]): string {
  const hash = createHash('sha256')
  for (const { ids, labels } of samples) hash.update(`${ids.length}:`).update(ids).update(labels)
  return hash.digest('hex')
}

/** Bytes of the header: JSON, spaces, and in the last 32 bytes the SHA-256 of what is before them. */
export const HEADER_BYTES = 4096
const SUM_BYTES = 32

/** float32 or int32 words of a token: k ids, k + 1 log-probabilities, the entropy of the full distribution in nats. */
export const recordWords = (topK: number): number => 2 * topK + 2

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

/** Bytes with their checksum after them. */
export function sealed(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, sha256(bytes)])
}

/** A header as it stands in a file, [HEADER_BYTES]. */
export function encodeHeader(header: TeacherSignalHeader): Buffer {
  const body = Buffer.alloc(HEADER_BYTES - SUM_BYTES, ' ')
  body.write(JSON.stringify(header))
  return sealed(body)
}

/** Where a chunk stands in a file. */
export function chunkPlace(header: TeacherSignalHeader, chunk: number): { at: number; tokens: number; bytes: number } {
  const word = 4 * recordWords(header.topK)
  const tokens = Math.min(header.chunkTokens, header.tokens - chunk * header.chunkTokens)
  return {
    at: HEADER_BYTES + chunk * (header.chunkTokens * word + SUM_BYTES),
    tokens,
    bytes: tokens * word + SUM_BYTES,
  }
}

/** Number of chunks of a file. */
export const chunkCount = (header: TeacherSignalHeader): number => Math.ceil(header.tokens / header.chunkTokens)

/**
 * What a teacher says of every labelled token of a dataset: the k most probable ids with their log-probabilities, the mass of the rest, and
 * the entropy. Read piece by piece; every chunk is checked against its checksum when it is first needed.
 */
export class TeacherSignal implements Disposable {
  readonly path: string
  readonly header: TeacherSignalHeader
  readonly #descriptor: number
  readonly #verified = new Set<number>()

  /**
   * Opens a file, whole or still being written.
   * @throws TeacherSignalError ERR_SIGNAL_READ, ERR_SIGNAL_FORMAT
   */
  constructor(path: string) {
    this.path = path
    try {
      this.#descriptor = openSync(path, 'r')
    } catch (cause) {
      const reason = (cause as Error).message
      const advice = 'check the path, or write it with lantern teacher-signal'
      throw new TeacherSignalError('ERR_SIGNAL_READ', path, `cannot be read (${reason}); ${advice}`, { cause })
    }
    try {
      this.header = this.#readHeader()
    } catch (error) {
      closeSync(this.#descriptor)
      throw error
    }
  }

  #readHeader(): TeacherSignalHeader {
    const bad = (problem: string) =>
      new TeacherSignalError('ERR_SIGNAL_FORMAT', this.path, `${problem}; write it again with lantern teacher-signal`)
    const bytes = this.#read(0, HEADER_BYTES)
    const body = bytes.subarray(0, -SUM_BYTES)
    if (bytes.length < HEADER_BYTES || !body.includes('lantern-teacher-signal')) throw bad('is no teacher signal')
    if (!sha256(body).equals(bytes.subarray(-SUM_BYTES))) throw bad('the header does not match its checksum')
    const header = JSON.parse(body.toString('utf8')) as TeacherSignalHeader
    if (header.version !== 1) throw bad(`is of version ${header.version}, and 1 is understood`)
    return header
  }

  /** Whether a chunk is there and intact. */
  intact(chunk: number): boolean {
    return this.#damage(chunk) === null
  }

  #damage(chunk: number): string | null {
    if (this.#verified.has(chunk)) return null
    const { at, bytes } = chunkPlace(this.header, chunk)
    const found = this.#read(at, bytes)
    if (found.length < bytes)
      return `is cut short: ${fstatSync(this.#descriptor).size} bytes, and it ends at ${at + bytes}`
    if (!sha256(found.subarray(0, -SUM_BYTES)).equals(found.subarray(-SUM_BYTES))) return 'does not match its checksum'
    this.#verified.add(chunk)
    return null
  }

  /**
   * The records of tokens [from, to), [to - from, recordWords].
   * @throws TeacherSignalError ERR_SIGNAL_DAMAGED naming the chunk that is cut short or does not match its checksum
   */
  records(from: number, to: number): ArrayBuffer {
    const bytes = 4 * recordWords(this.header.topK)
    const out = new Uint8Array((to - from) * bytes)
    const { chunkTokens } = this.header
    for (let token = from; token < to; ) {
      const chunk = Math.floor(token / chunkTokens)
      const damage = this.#damage(chunk)
      if (damage)
        throw new TeacherSignalError(
          'ERR_SIGNAL_DAMAGED',
          this.path,
          `chunk ${chunk} of ${chunkCount(this.header)} ${damage}; write the file again with lantern teacher-signal`,
        )
      const end = Math.min(to, (chunk + 1) * chunkTokens)
      const at = chunkPlace(this.header, chunk).at + (token - chunk * chunkTokens) * bytes
      out.set(this.#read(at, (end - token) * bytes), (token - from) * bytes)
      token = end
    }
    return out.buffer
  }

  #read(at: number, bytes: number): Buffer {
    const out = Buffer.alloc(bytes)
    let done = 0
    for (let n = 1; n > 0 && done < bytes; done += n) n = readSync(this.#descriptor, out, done, bytes - done, at + done)
    return out.subarray(0, done)
  }

  /**
   * Checks that the file was made from what is asked for.
   * @throws TeacherSignalError ERR_SIGNAL_MISMATCH naming what differs, with both values
   */
  require(wanted: Partial<TeacherSignalIdentity>): void {
    for (const [key, value] of Object.entries(wanted) as [keyof TeacherSignalIdentity, unknown][]) {
      if (this.header[key] === value) continue
      throw new TeacherSignalError(
        'ERR_SIGNAL_MISMATCH',
        this.path,
        `was made with ${WORDS[key]} ${this.header[key]}, but ${value} is asked for; ${ADVICE[key] ?? 'ask for the same'}, or write the file again with lantern teacher-signal`,
      )
    }
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    closeSync(this.#descriptor)
  }
}

const WORDS: Record<keyof TeacherSignalIdentity, string> = {
  tokenizer: 'the tokenizer',
  teacher: 'the teacher',
  data: 'the data',
  topK: 'topK',
  temperature: 'temperature',
  vocabulary: 'a vocabulary of',
  maxLength: 'maxLength',
  longSamples: 'longSamples',
  precision: 'precision',
  program: 'version',
}

const ADVICE: Partial<Record<keyof TeacherSignalIdentity, string>> = {
  tokenizer: 'distil a student with the tokenizer of the teacher',
  data: 'distil on the same train.jsonl and validation.jsonl with the same chat template',
}

/** The signal of each of the samples that a file was made from, in the same order. @throws TeacherSignalError ERR_SIGNAL_MISMATCH for others */
export function signalOf(signal: TeacherSignal, samples: readonly Sample[]): (sample: Sample) => SampleSignal {
  signal.require({ data: samplesDigest(samples) })
  const { topK } = signal.header
  const starts = new Map<Sample, number>()
  let at = 0
  for (const sample of samples) {
    starts.set(sample, at)
    at += weightOf(sample)
  }
  return (sample) => {
    const from = starts.get(sample)!
    return unpack(signal.records(from, from + weightOf(sample)), topK)
  }
}

/** The teacher's records of a sample's labelled tokens, in their order. */
export interface SampleSignal extends Pick<TopKTeacher, 'ids' | 'logProbabilities'> {
  /** [labelled tokens], of the full distributions */
  entropy: Float32Array
}

function unpack(records: ArrayBuffer, topK: number): SampleSignal {
  const words = recordWords(topK)
  const ints = new Int32Array(records)
  const floats = new Float32Array(records)
  const rows = ints.length / words
  const out = {
    ids: new Int32Array(rows * topK),
    logProbabilities: new Float32Array(rows * (topK + 1)),
    entropy: new Float32Array(rows),
  }
  for (let row = 0; row < rows; row++) {
    const at = row * words
    out.ids.set(ints.subarray(at, at + topK), row * topK)
    out.logProbabilities.set(floats.subarray(at + topK, at + words - 1), row * (topK + 1))
    out.entropy[row] = floats[at + words - 1]!
  }
  return out
}
