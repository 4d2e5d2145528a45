import { existsSync, ftruncateSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FileError } from '../../lib/errors.js'
import { openSafetensors, readSafetensorsSync, writeSafetensors } from '../../lib/models/safetensors.js'
import { fill } from '../../lib/ops/elementwise.js'
import { normal, roundBf16, testDevice } from '../support.js'
import { bytesOf, caught, entry, fileOf, freshPath, root } from './rawFiles.js'

const device = testDevice({ threads: 1 })
afterEach(() => vi.restoreAllMocks())

const FIXTURE = 'test/fixtures/models/qwen2/model.safetensors'

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

  it('lets an op write to a tensor in place, which does not change the file', async () => {
    const values = Float32Array.of(1, 2, 3)
    const path = fileOf(JSON.stringify({ x: entry('F32', [3], [0, 12]) }).padEnd(64), bytesOf(values))
    using file = openSafetensors(device, path)
    const x = file.tensor('x')
    fill(x, 7)
    expect([...(await x.floats())]).toEqual([7, 7, 7])
    x.dispose()
    using again = openSafetensors(device, path)
    expect([...(await again.tensor('x').floats())]).toEqual([...values])
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
      expect(device.memory().live > before).toBe(copies || !device.readsHostMemory)
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
    if (existsSync('/proc/self/maps')) expect(await mapped()).toBe(device.readsHostMemory)
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
    using _scope = device.scope()
    const values = normal(3, 15, { outliers: 100 })
    const x = device.tensor(values, [3, 5])
    const half = device.tensor(values, [15], 'bfloat16')
    const ids = device.tensor(new Int32Array([1, -2]))
    const path = freshPath()
    await writeSafetensors(
      path,
      [
        { name: 'half', tensor: half }, // 30 bytes: what follows as it is given could not be read in place
        { name: 'x', tensor: x },
        { name: 'narrowed', tensor: x, dtype: 'bfloat16' },
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
    for (const name of file.names) file.tensor(name) // of the scope
    if (device.readsHostMemory) expect(device.memory().live).toBe(live) // all offsets can be read in place
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
