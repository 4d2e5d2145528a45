import { describe, expect, test } from 'vitest'
import { DeviceError, OutOfMemoryError, ShapeError } from '../../lib/errors.js'
import { Device } from '../../lib/tensor/device.js'
import { SIMULATED, testDevice } from '../support.js'

describe('tensors', () => {
  const device = testDevice()

  test('values go out and come back', async () => {
    const data = Float32Array.from({ length: 1000 }, (_, i) => i / 7)
    expect(await device.tensor(data, [10, 100]).read()).toEqual(data)
    expect(await device.tensor(Int32Array.of(3, -1)).read()).toEqual(Int32Array.of(3, -1))
    expect(await device.tensor([1, 2.5], [2], 'bfloat16').read()).toEqual(Float32Array.of(1, 2.5))
    expect(await device.zeros([0, 4]).read()).toEqual(new Float32Array(0))
    expect(await device.tensor([7], [1]).item()).toBe(7)
  })

  test('an upload holds the values of its call', async () => {
    const data = Float32Array.of(1, 2, 3)
    const t = device.tensor(data)
    data.fill(9)
    expect(await t.read()).toEqual(Float32Array.of(1, 2, 3))
  })

  test('views and rows share memory until the last is gone', async () => {
    const t = device.tensor(
      Float32Array.from({ length: 12 }, (_, i) => i),
      [3, 4],
    )
    const row = t.rows(1, 2)
    t.dispose()
    expect(await row.read()).toEqual(Float32Array.of(4, 5, 6, 7))
    expect(() => t.view([12])).toThrow('used after it was disposed of')
    expect(() => row.view([5])).toThrow(ShapeError)
  })

  test('launch refuses what the kernel does not know', () => {
    expect(() => device.launch('noSuchKernel', {})).toThrow("no kernel 'noSuchKernel'")
    expect(() => device.launch('fill', { y: device.empty([1]), count: 1, dtype: 0 })).toThrow(
      'the field value is missing',
    )
    expect(() => device.launch('fill', { y: device.empty([1]), count: 1, dtype: 0, value: 0, extra: 1 })).toThrow(
      'and no others',
    )
  })
})

describe('memory', () => {
  test('a scope gives back what was made in it, but for what is kept', async () => {
    const device = testDevice({ poison: false })
    const before = device.memory().live
    let kept = device.empty([1])
    {
      using scope = device.scope()
      for (let i = 0; i < 10; i++) device.zeros([1000])
      kept = scope.keep(device.tensor([5]))
      expect(device.memory().live - before).toBeGreaterThan(40_000)
    }
    expect(device.memory().live - before).toBeLessThan(200)
    expect(await kept.item()).toBe(5)
    const tidied = device.tidy(() => ({ a: device.tensor([1]), unrelated: 3 }))
    expect(await tidied.a.item()).toBe(1)
  })

  test('freed blocks are used again: the reserve does not grow', async () => {
    const device = testDevice({ poison: false })
    device.zeros([1 << 20]).dispose()
    const { reserved } = device.memory()
    for (let i = 0; i < 100; i++) device.zeros([(1 << 20) - 1000 * i]).dispose()
    await device.synchronize()
    expect(device.memory().reserved).toBe(reserved)
    expect(device.memory().live).toBe(0)
  })

  test('over the budget: a typed error that says what to do, and the device goes on', async () => {
    const device = testDevice({ memoryBudget: 8 * 2 ** 20, poison: false })
    const a = device.zeros([1 << 20])
    expect(() => device.zeros([2 << 20])).toThrow(OutOfMemoryError)
    expect(() => device.zeros([2 << 20])).toThrow(
      /8\.0 MiB asked for float32 \[2097152\] while 4\.0 MiB are live.*smaller batch/,
    )
    a.dispose()
    expect(
      await device
        .zeros([1 << 20])
        .rows(5, 7)
        .read(),
    ).toEqual(Float32Array.of(0, 0))
  })
})

describe('the stream', () => {
  const eager = process.env.LANTERN_SIMT_STREAMS === 'eager' // the PTX machine then works where it is asked to, not later
  test.skipIf(eager)('does not block the event loop', async () => {
    const device = testDevice({ poison: false })
    const big = device.zeros([1 << (SIMULATED ? 18 : 24)])
    for (let i = 0; i < 40; i++) device.launch('fill', { y: big, count: big.size, dtype: 0, value: i })
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    await device.synchronize()
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(3)
  })

  test('an error reaches the next wait, and the device goes on', async () => {
    const device = testDevice()
    const weight = device.zeros([4, 8])
    const y = device.empty([1, 8])
    const ids = device.tensor(Int32Array.of(4))
    device.launch('embedding', { ids, weight, y, tokens: 1, hidden: 8, vocab: 4, dtype: 0, weightDtype: 0 })
    await expect(y.read()).rejects.toThrow(DeviceError)
    expect(await device.tensor([2]).item()).toBe(2)
  })

  test('whoever waits for what was enqueued before an error was told hears of it, and of no older one afterwards', async () => {
    const device = testDevice()
    const [weight, y] = [device.zeros([4, 8]), device.empty([1, 8])]
    const pickRow = (id: number) => {
      const ids = device.tensor(Int32Array.of(id))
      device.launch('embedding', { ids, weight, y, tokens: 1, hidden: 8, vocab: 4, dtype: 0, weightDtype: 0 })
    }
    const refused = (id: number) => `embedding: id ${id} at position 0 is outside [0, 4)`
    pickRow(4)
    const first = y.read()
    pickRow(1) // before anybody could know
    const second = y.read()
    const later = first.catch(() => {
      pickRow(5)
      return y.read()
    })
    await expect(first).rejects.toThrow(refused(4))
    await expect(second).rejects.toThrow(refused(4))
    await expect(later).rejects.toThrow(refused(5))
    pickRow(3)
    expect(await y.floats()).toEqual(new Float32Array(8))
  })

  test('a profile counts the kernels of its work alone', async () => {
    const device = testDevice({ poison: false })
    device.zeros([100])
    const timings = await device.profile(() => {
      const t = device.zeros([1 << (SIMULATED ? 16 : 22)])
      device.launch('fill', { y: t, count: t.size, dtype: 0, value: 1 })
    })
    device.zeros([100])
    expect(timings).toHaveLength(1)
    const [name, { calls, seconds }] = timings[0]!
    expect([name, calls]).toEqual(['fill', 2])
    expect(seconds).toBeGreaterThan(0)
  })

  test('a closed device says so', async () => {
    const device = Device.open('cpu', { threads: 1 })
    await device.close()
    expect(() => device.zeros([1])).toThrow('the device was closed')
    await device.close()
  })

  test('options out of range are refused', () => {
    expect(() => Device.open('cpu', { threads: 0 })).toThrow('0 is no number of threads')
    expect(() => Device.open('cpu', { memoryBudget: -1 })).toThrow('memoryBudget is -1')
    for (const kind of ['gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'CPU'])
      expect(() => Device.open(kind as 'cpu')).toThrow(`no device '${kind}'; use 'auto', 'cpu'`)
  })
})
