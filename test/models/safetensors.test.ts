import {
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { CheckpointError, FileError } from '../../lib/errors.js'
import { openSafetensors, readSafetensorsSync, writeSafetensors } from '../../lib/models/safetensors.js'
import { normal, roundBf16, testDevice, uniform } from '../support.js'

const device = testDevice({ threads: 1 })
const root = mkdtempSync(join(tmpdir(), 'safetensors-'))
afterAll(() => rmSync(root, { recursive: true }))
afterEach(() => vi.restoreAllMocks())

const FIXTURE = 'test/fixtures/models/qwen2/model.safetensors'

let files = 0
const freshPath = () => join(root, `${++files}.safetensors`)

/** A file of a header as it is given (an object is made JSON) and data. */
function fileOf(header: unknown, data: Uint8Array | number = 0, length?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(length ?? BigInt(json.byteLength))
  const path = freshPath()
  writeFileSync(path, Buffer.concat([prefix, json, typeof data === 'number' ? new Uint8Array(data) : data]))
  return path
}

const bytesOf = (a: Float32Array | Float64Array | Uint16Array | Int32Array | BigInt64Array) =>
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength)

const entry = (dtype: unknown, shape: unknown, offsets: unknown) => ({ dtype, shape, data_offsets: offsets })

const caught = (fn: () => unknown): unknown => {
  try {
    fn()
  } catch (error) {
    return error
  }
  return undefined
}

describe('openSafetensors', () => {
  it('gives the tensors of a checkpoint as they are stored', async () => {
    using file = openSafetensors(device, FIXTURE)
    const host = readSafetensorsSync(FIXTURE)
    expect([...file.names].sort()).toEqual(Object.keys(host).sort())
    expect(file.names).toHaveLength(26)
    expect(file.metadata).toEqual({ format: 'pt' })
    for (const name of file.names) {
      using tensor = file.tensor(name)
      expect(tensor.dtype).toBe('float32')
      expect(tensor.shape).toEqual(host[name]!.shape)
      expect(Buffer.compare(bytesOf(await tensor.floats()), bytesOf(host[name]!.data as Float32Array))).toBe(0)
    }
  })

  it('maps F32, BF16 and I32 without taking device memory, and converts F16 and F64', async () => {
    const f64 = new Float64Array([Math.PI, 1e300])
    const half = new Uint16Array([0x3c00, 0x0001, 0x03ff, 0x7bff, 0xfc00, 0x8000, 0x7e01, 0xb555])
    const floats = normal(1, 6)
    const bits = new Uint16Array([0x3f80, 0xc049])
    const path = fileOf(
      {
        d: entry('F64', [2], [0, 16]),
        f: entry('F32', [2, 3], [16, 40]),
        i: entry('I32', [1], [40, 44]),
        b: entry('BF16', [1, 2], [44, 48]),
        h: entry('F16', [8], [48, 64]),
      },
      Buffer.concat([f64, floats, new Int32Array([-7]), bits, half].map(bytesOf)),
    )
    using file = openSafetensors(device, path)
    expect(file.info('h')).toMatchObject({ dtype: 'F16', shape: [8], bytes: 16 })
    const read = async (name: string) => {
      using tensor = file.tensor(name)
      return [tensor.dtype, [...(await tensor.read())]]
    }
    expect(await read('f')).toEqual(['float32', [...floats]])
    expect(await read('i')).toEqual(['int32', [-7]])
    expect(await read('b')).toEqual(['bfloat16', [1, -3.140625]])
    expect(await read('d')).toEqual(['float32', [Math.fround(Math.PI), Number.POSITIVE_INFINITY]])
    const halves = [
      1,
      2 ** -24,
      1023 * 2 ** -24,
      65504,
      Number.NEGATIVE_INFINITY,
      -0,
      Number.NaN,
      -(1 + 341 / 1024) / 4,
    ]
    expect(await read('h')).toEqual(['float32', halves])
  })

  it('copies only what lies at an offset that cannot be read in place', async () => {
    const header = JSON.stringify({ x: entry('F32', [1000], [0, 4000]) })
    const values = normal(2, 1000)
    for (const [shift, copies] of [
      [0, false],
      [1, true],
      [2, true],
      [3, true],
    ] as const) {
      const padding = ' '.repeat(((8 - (header.length % 8)) % 8) + shift)
      using file = openSafetensors(device, fileOf(header + padding, bytesOf(values)))
      const before = device.memory().live
      using tensor = file.tensor('x')
      expect(device.memory().live > before).toBe(copies)
      expect(await tensor.floats()).toEqual(values)
    }
  })

  it('converts a tensor that is larger than one piece', async () => {
    const count = 2 ** 21 + 5 // 4 MiB of F16 and a little more
    const half = new Uint16Array(count).map((_, i) => i % 0x7c00)
    using file = openSafetensors(device, fileOf({ x: entry('F16', [count], [0, 2 * count]) }, bytesOf(half)))
    using tensor = file.tensor('x')
    const got = await tensor.floats()
    const expected = readSafetensorsSync(file.path).x!.data as Float32Array
    expect(got.length).toBe(count)
    expect(Buffer.compare(bytesOf(got), bytesOf(expected))).toBe(0)
  })

  it('keeps the mapping until the file is closed and the last tensor disposed of', async () => {
    const path = fileOf(
      { x: entry('F32', [2], [0, 8]), y: entry('F32', [1], [8, 12]) },
      bytesOf(new Float32Array([1, 2, 3])),
    )
    const mapped = async () => {
      await device.synchronize() // unmapping is in stream order
      return readFileSync('/proc/self/maps', 'utf8').includes(path)
    }
    const file = openSafetensors(device, path)
    const x = file.tensor('x')
    const y = file.tensor('y')
    const view = x.rows(1, 2)
    rmSync(path)
    file.close()
    file.close()
    x.dispose()
    expect(await view.floats()).toEqual(new Float32Array([2]))
    expect(await y.floats()).toEqual(new Float32Array([3]))
    if (existsSync('/proc/self/maps')) expect(await mapped()).toBe(true)
    view.dispose()
    y.dispose()
    if (existsSync('/proc/self/maps')) expect(await mapped()).toBe(false)
  })

  it('reads nothing but the header: 8 GB open, and their last value is there', async () => {
    const path = freshPath()
    const count = 2 ** 31
    const header = JSON.stringify({
      a: entry('F32', [count - 2], [0, 4 * count - 8]),
      z: entry('F32', [2], [4 * count - 8, 4 * count]),
    })
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8)
    const descriptor = openSync(path, 'w')
    const prefix = Buffer.alloc(8)
    prefix.writeBigUInt64LE(BigInt(padded.length))
    ftruncateSync(descriptor, 8 + padded.length + 4 * count) // sparse: takes no space
    writeSync(descriptor, Buffer.concat([prefix, Buffer.from(padded)]), 0, undefined, 0)
    writeSync(descriptor, bytesOf(new Float32Array([4.5])), 0, 4, 8 + padded.length + 4 * count - 4)
    using file = openSafetensors(device, path)
    using z = file.tensor('z')
    expect(await z.floats()).toEqual(new Float32Array([0, 4.5]))
    rmSync(path)
  })

  it('refuses tensors that no op takes, unknown names and closed files', () => {
    const file = openSafetensors(device, fileOf({ i: entry('I64', [1], [0, 8]) }, 8))
    expect(caught(() => file.tensor('i'))).toMatchObject({ code: 'ERR_CHECKPOINT_DTYPE', file: file.path })
    expect(caught(() => file.tensor('j'))).toMatchObject({ code: 'ERR_CHECKPOINT_MISSING' })
    file.close()
    expect(caught(() => file.tensor('i'))).toMatchObject({ code: 'ERR_CHECKPOINT_CLOSED' })
  })
})

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

describe('readSafetensorsSync', () => {
  it('reads every width of number', () => {
    const path = fileOf(
      {
        l: entry('I64', [1], [0, 8]),
        u: entry('U8', [3], [8, 11]),
        t: entry('BOOL', [1], [11, 12]),
        s: entry('I16', [2], [12, 16]),
      },
      Buffer.concat([bytesOf(new BigInt64Array([-(2n ** 62n)])), Uint8Array.of(1, 2, 255, 1, 0xfe, 0xff, 5, 0)]),
    )
    const { l, u, t, s } = readSafetensorsSync(path)
    expect(l!.data).toEqual(new BigInt64Array([-(2n ** 62n)]))
    expect(u!.data).toEqual(new Uint8Array([1, 2, 255]))
    expect(t).toEqual({ dtype: 'BOOL', shape: [1], data: new Uint8Array([1]) })
    expect(s!.data).toEqual(new Int16Array([-2, 5]))
  })
})

describe('writeSafetensors', () => {
  it('writes what it reads, in every dtype and conversion', async () => {
    using scope = device.scope()
    const values = normal(3, 15, { outliers: 100 })
    const x = device.tensor(values, [3, 5])
    const half = device.tensor(values, [15], 'bfloat16')
    const ids = device.tensor(new Int32Array([1, -2]))
    const path = freshPath()
    await writeSafetensors(
      path,
      [
        { name: 'half', tensor: half },
        { name: 'narrowed', tensor: x, dtype: 'bfloat16' },
        { name: 'x', tensor: x },
        { name: 'widened', tensor: half, dtype: 'float32' },
        { name: 'ids', tensor: ids },
        { name: 'empty', tensor: device.empty([0, 4]) },
        { name: 'scalar', tensor: device.tensor([2.5], []) },
      ],
      { format: 'pt', step: '7' },
    )
    const host = readSafetensorsSync(path)
    const stored = roundBf16(values)
    expect(host.x).toEqual({ dtype: 'F32', shape: [3, 5], data: values })
    expect(host.half).toEqual({ dtype: 'BF16', shape: [15], data: stored })
    expect(host.narrowed).toEqual({ dtype: 'BF16', shape: [3, 5], data: stored })
    expect(host.widened).toEqual({ dtype: 'F32', shape: [15], data: stored })
    expect(host.ids).toEqual({ dtype: 'I32', shape: [2], data: new Int32Array([1, -2]) })
    expect(host.empty).toEqual({ dtype: 'F32', shape: [0, 4], data: new Float32Array(0) })
    expect(host.scalar).toEqual({ dtype: 'F32', shape: [], data: new Float32Array([2.5]) })
    using file = openSafetensors(device, path)
    expect(file.metadata).toEqual({ format: 'pt', step: '7' })
    const live = device.memory().live
    for (const name of file.names) scope.keep(file.tensor(name)).dispose()
    expect(device.memory().live).toBe(live) // all offsets can be read in place
  })

  it('pads the header so that the data starts at a cache line', async () => {
    for (const name of ['a', 'ab', 'abcdefgh', 'n'.repeat(57)]) {
      const path = freshPath()
      using tensor = device.tensor([1])
      await writeSafetensors(path, [{ name, tensor }])
      const length = Number(readFileSync(path).readBigUInt64LE(0))
      expect((8 + length) % 64).toBe(0)
      expect(readFileSync(path).length).toBe(8 + length + 4)
    }
  })

  it('writes tensors that are larger than one piece', async () => {
    const values = normal(4, 2 ** 20 + 3)
    using tensor = device.tensor(values)
    const path = freshPath()
    await writeSafetensors(path, [
      { name: 'x', tensor },
      { name: 'half', tensor, dtype: 'bfloat16' },
    ])
    const { x, half } = readSafetensorsSync(path)
    expect(Buffer.compare(bytesOf(x!.data as Float32Array), bytesOf(values))).toBe(0)
    expect(Buffer.compare(bytesOf(half!.data as Float32Array), bytesOf(roundBf16(values)))).toBe(0)
  })

  it('may replace the file that its tensors are mapped from', async () => {
    const path = freshPath()
    using first = device.tensor([1, 2, 3])
    await writeSafetensors(path, [{ name: 'x', tensor: first }])
    using file = openSafetensors(device, path)
    using mapped = file.tensor('x')
    await writeSafetensors(path, [
      { name: 'y', tensor: mapped },
      { name: 'x', tensor: first },
    ])
    expect(await mapped.floats()).toEqual(new Float32Array([1, 2, 3]))
    expect(readSafetensorsSync(path).y!.data).toEqual(new Float32Array([1, 2, 3]))
  })

  it('leaves the old file when the disk is full', async () => {
    const folder = mkdtempSync(join(root, 'full-'))
    const path = join(folder, 'model.safetensors')
    using tensor = device.tensor([1])
    await writeSafetensors(path, [{ name: 'x', tensor }])
    const before = readFileSync(path)
    const handle = await open(path)
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
    })
    vi.spyOn(Object.getPrototypeOf(handle), 'write').mockRejectedValue(full)
    await handle.close()
    const error = await writeSafetensors(path, [{ name: 'y', tensor }]).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(FileError)
    expect(error).toMatchObject({ code: 'ERR_DISK_FULL', file: path })
    expect(readFileSync(path)).toEqual(before)
    expect(readdirSync(folder)).toEqual(['model.safetensors'])
  })

  it('refuses clashing names, disposed tensors and integers as floats, and writes nothing', async () => {
    const path = freshPath()
    using x = device.tensor([1])
    using ids = device.tensor(new Int32Array([1]))
    const gone = device.tensor([1])
    gone.dispose()
    const write = (...tensors: Parameters<typeof writeSafetensors>[1]) => writeSafetensors(path, tensors)
    await expect(write({ name: 'x', tensor: x }, { name: 'x', tensor: x })).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_NAME',
    })
    await expect(write({ name: '__metadata__', tensor: x })).rejects.toMatchObject({ code: 'ERR_CHECKPOINT_NAME' })
    await expect(write({ name: 'x', tensor: gone })).rejects.toMatchObject({ code: 'ERR_DISPOSED' })
    await expect(write({ name: 'x', tensor: ids, dtype: 'float32' })).rejects.toMatchObject({ code: 'ERR_DTYPE' })
    expect(existsSync(path)).toBe(false)
  })
})
