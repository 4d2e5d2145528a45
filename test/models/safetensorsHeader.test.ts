import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { CheckpointError } from '../../lib/errors.js'
import { openSafetensors, readSafetensorsSync } from '../../lib/models/safetensors.js'
import { testDevice, uniform } from '../support.js'
import { bytesOf, caught, entry, fileOf, freshPath, root } from './rawFiles.js'

const device = testDevice({ threads: 1 })
afterEach(() => vi.restoreAllMocks())

const FIXTURE = 'test/fixtures/models/qwen2/model.safetensors'

const f32 = (n: number, begin = 0) => entry('F32', [n], [begin, begin + 4 * n])
const raw = (bytes: number[] | Uint8Array) => {
  const path = freshPath()
  writeFileSync(path, Uint8Array.from(bytes))
  return path
}

/** What hostile or damaged files look like, the code that tells it and a word of the message. */
const hostile: [string, () => string, string, RegExp][] = [
  ['an empty file', () => raw([]), 'TRUNCATED', /it has 0 bytes/],
  ['7 bytes', () => raw([2, 0, 0, 0, 0, 0, 0]), 'TRUNCATED', /it has 7 bytes/],
  ['a header beyond the file', () => fileOf('{}', 0, 3n), 'TRUNCATED', /claims 3 bytes, but only 2 follow/],
  ['a header of 2^64 - 1 bytes', () => fileOf('{}', 0, 2n ** 64n - 1n), 'HEADER', /18446744073709551615 bytes/],
  ['a header above 100 MB', () => fileOf('{}', 0, 100_000_001n), 'HEADER', /limit of 100000000/],
  ['no header', () => fileOf('', 0), 'HEADER', /no JSON/],
  ['a header that is no JSON', () => fileOf('{"a":', 0), 'HEADER', /no JSON/],
  ['a header that ends in a string', () => fileOf('{"a', 0), 'HEADER', /no JSON/],
  ['a header that is no UTF-8', () => raw([5, 0, 0, 0, 0, 0, 0, 0, 123, 34, 0xff, 34, 125]), 'HEADER', /no JSON/],
  ['a byte order mark', () => fileOf('\ufeff{}', 0), 'HEADER', /no JSON/],
  ['a header that is a list', () => fileOf('[]', 0), 'HEADER', /no JSON object/],
  ['a header that is null', () => fileOf('null', 0), 'HEADER', /no JSON object/],
  [
    'a deeply nested header',
    () => fileOf(`{"a":${'['.repeat(1e6)}${']'.repeat(1e6)}}`, 0),
    'HEADER',
    /nested too deeply/,
  ],
  ['an entry that is no object', () => fileOf({ a: 1 }), 'HEADER', /entry of "a"/],
  [
    'an entry without dtype',
    () => fileOf({ a: { shape: [1], data_offsets: [0, 4] } }, 4),
    'HEADER',
    /"a" has no dtype/,
  ],
  ['an unknown dtype', () => fileOf({ a: entry('F33', [1], [0, 4]) }, 4), 'DTYPE', /unknown dtype "F33"/],
  [
    'a dtype that objects inherit',
    () => fileOf({ a: entry('toString', [1], [0, 4]) }, 4),
    'DTYPE',
    /unknown dtype "toString"/,
  ],
  ['a negative size', () => fileOf({ a: entry('F32', [-1], [0, 4]) }, 4), 'HEADER', /shape/],
  ['two negative sizes', () => fileOf({ a: entry('F32', [-1, -1], [0, 4]) }, 4), 'HEADER', /shape/],
  ['a fractional size', () => fileOf({ a: entry('F32', [0.5, 2], [0, 4]) }, 4), 'HEADER', /shape/],
  ['a size that is text', () => fileOf({ a: entry('F32', ['1'], [0, 4]) }, 4), 'HEADER', /shape/],
  ['a shape that is no list', () => fileOf({ a: entry('F32', 1, [0, 4]) }, 4), 'HEADER', /shape/],
  ['a shape that overflows', () => fileOf({ a: entry('F32', [2 ** 32, 2 ** 32], [0, 0]) }), 'HEADER', /overflows/],
  [
    'a size beyond exact integers',
    () => fileOf('{"a":{"dtype":"U8","shape":[1e300],"data_offsets":[0,0]}}'),
    'HEADER',
    /shape/,
  ],
  ['one offset', () => fileOf({ a: entry('F32', [1], [0]) }, 4), 'HEADER', /data_offsets/],
  ['a negative offset', () => fileOf({ a: entry('F32', [1], [-4, 0]) }, 4), 'HEADER', /data_offsets/],
  ['an end before the begin', () => fileOf({ a: entry('F32', [1], [4, 0]) }, 4), 'HEADER', /before its begin/],
  [
    'an end beyond the file',
    () => fileOf({ a: f32(2) }, 4),
    'TRUNCATED',
    /ends at byte 8 of the data, but the file holds 4/,
  ],
  [
    'an end near 2^53',
    () => fileOf({ a: entry('U8', [2 ** 53 - 1], [0, 2 ** 53 - 1]) }, 4),
    'TRUNCATED',
    /ends at byte/,
  ],
  [
    'a size that does not fit shape and dtype',
    () => fileOf({ a: entry('F32', [3], [0, 8]) }, 8),
    'HEADER',
    /12 bytes, but takes 8/,
  ],
  ['tensors that overlap', () => fileOf({ a: f32(2), b: f32(2, 4) }, 12), 'HEADER', /"b" overlaps/],
  ['two tensors over the same data', () => fileOf({ a: f32(2), b: f32(2) }, 8), 'HEADER', /overlaps/],
  ['a hole before the first tensor', () => fileOf({ a: f32(1, 4) }, 8), 'HEADER', /4 bytes before "a"/],
  ['a hole between tensors', () => fileOf({ a: f32(1), b: f32(1, 8) }, 12), 'HEADER', /4 bytes before "b"/],
  ['bytes at the end', () => fileOf({ a: f32(1) }, 5), 'HEADER', /1 bytes at the end/],
  ['bytes without any tensor', () => fileOf({}, 1), 'HEADER', /1 bytes at the end/],
  [
    'the same name twice',
    () => fileOf(`{"a":${JSON.stringify(f32(1))},"a":${JSON.stringify(f32(1))}}`, 4),
    'HEADER',
    /names "a" twice/,
  ],
  [
    'the same name escaped',
    () => fileOf(`{"a\\"":${JSON.stringify(f32(1))}, "\\u0061\\"" :${JSON.stringify(f32(1))}}`, 4),
    'HEADER',
    /twice/,
  ],
  [
    'a dtype given twice',
    () => fileOf('{"a":{"dtype":"I32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    'HEADER',
    /"dtype" twice/,
  ],
  ['metadata that is no object', () => fileOf({ __metadata__: 'pt' }), 'HEADER', /__metadata__ is no object/],
  [
    'metadata that is no text',
    () => fileOf({ __metadata__: { format: 1 } }),
    'HEADER',
    /__metadata__.format is no string/,
  ],
  ['no file', () => join(root, 'none'), 'READ', /cannot be opened/],
  ['a directory', () => root, 'READ', /no regular file/],
]

describe('hostile files', () => {
  it.each(hostile)('%s is a typed error, before anything is mapped', (_, make, code, message) => {
    const path = make()
    const map = vi.spyOn(device, 'mapFile')
    for (const read of [() => openSafetensors(device, path), () => readSafetensorsSync(path)]) {
      const error = caught(read)
      expect(error).toBeInstanceOf(CheckpointError)
      expect(error).toMatchObject({ code: `ERR_CHECKPOINT_${code}`, file: path })
      expect((error as Error).message).toMatch(message)
      expect((error as Error).message).toMatch(/: .+(again|path|file|F32, F16 or BF16)$/)
    }
    expect(map).not.toHaveBeenCalled()
  })

  it('takes what is unusual but right', async () => {
    const data = bytesOf(new Float32Array([1, 2]))
    const header = {
      z: f32(1, 4),
      none: entry('F32', [0, 2 ** 40], [4, 4]),
      __proto__x: f32(1),
      nul: entry('U8', [0], [8, 8]),
    }
    using file = openSafetensors(
      device,
      fileOf(`${JSON.stringify(header).replace('__proto__x', '__proto__')}   `, data),
    )
    expect(file.names).toEqual(['__proto__', 'none', 'z', 'nul'])
    using own = file.tensor('__proto__')
    using none = file.tensor('none')
    expect(await own.floats()).toEqual(new Float32Array([1]))
    expect(none.size).toBe(0)
    using empty = openSafetensors(device, fileOf({}))
    expect(empty.names).toEqual([])
    const scalar = fileOf({ s: entry('F64', [], [0, 8]) }, bytesOf(new Float64Array([0.1])))
    expect(readSafetensorsSync(scalar).s).toEqual({ dtype: 'F64', shape: [], data: new Float64Array([0.1]) })
  })

  it('answers any damage to a header with a typed error or with tensors inside the file', () => {
    const good = readFileSync(FIXTURE)
    const headerBytes = Number(good.readBigUInt64LE(0))
    const next = uniform(7)
    const path = freshPath()
    let refused = 0
    for (let i = 0; i < 300; i++) {
      const bad = Buffer.from(good)
      const edits = 1 + Math.floor(next() * 3)
      for (let e = 0; e < edits; e++)
        bad[Math.floor(next() * (8 + headerBytes))] = '0129-,]}":{[ eE.\\\u007f'.charCodeAt(Math.floor(next() * 19))
      writeFileSync(path, next() < 0.2 ? bad.subarray(0, Math.floor(next() * bad.length)) : bad)
      try {
        using file = openSafetensors(device, path)
        for (const name of file.names) {
          const { offset, bytes } = file.info(name)
          expect(offset + bytes).toBeLessThanOrEqual(good.length)
        }
      } catch (error) {
        refused++
        expect(error).toBeInstanceOf(CheckpointError)
      }
    }
    expect(refused).toBeGreaterThan(100)
  })
})
