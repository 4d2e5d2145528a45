import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

/** A folder for the files of a test file, removed after its tests. */
export const root = mkdtempSync(join(tmpdir(), 'safetensors-'))
afterAll(() => rmSync(root, { recursive: true }))

let files = 0
export const freshPath = () => join(root, `${++files}.safetensors`)

/** A file of a header as it is given (an object is made JSON) and data. */
export function fileOf(header: unknown, data: Uint8Array | number = 0, length?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(length ?? BigInt(json.byteLength))
  const path = freshPath()
  writeFileSync(path, Buffer.concat([prefix, json, typeof data === 'number' ? new Uint8Array(data) : data]))
  return path
}

export const bytesOf = (a: Float32Array | Float64Array | Uint16Array | Int32Array | BigInt64Array) =>
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength)

export const entry = (dtype: unknown, shape: unknown, offsets: unknown) => ({ dtype, shape, data_offsets: offsets })

export const caught = (fn: () => unknown): unknown => {
  try {
    fn()
  } catch (error) {
    return error
  }
  return undefined
}
