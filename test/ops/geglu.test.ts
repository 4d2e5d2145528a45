import { describe, expect, test } from 'vitest'
import { geglu, gegluPacked } from '../../lib/ops/geglu.js'
import { normalCdf } from '../oracle.js'
import { asStored, FLOATS, relativeError, TOLERANCE, testDevice } from '../support.js'
import { gatedUnitTests } from './gatedUnit.js'

const device = testDevice()

gatedUnitTests('geglu', { apart: geglu, packed: gegluPacked }, (z) => {
  const cdf = normalCdf(z)
  return { value: cdf === 0 ? 0 : z * cdf, slope: cdf + (z * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI) }
})

describe.each(FLOATS)('gelu %s', (dtype) => {
  test.each([-10, -6, -3, -1, -0.1, 0.1, 1, 3, 6])('of gates about %d keeps its digits', async (middle) => {
    const data = asStored(
      Float32Array.from({ length: 100 }, (_, i) => middle * (1 + i / 1000)),
      dtype,
    )
    const ones = device.tensor(new Float32Array(data.length).fill(1), [data.length], dtype)
    const y = await geglu(device.tensor(data, [data.length], dtype), ones).floats()
    expect(
      relativeError(
        y,
        Array.from(data, (z) => z * normalCdf(z)),
      ),
    ).toBeLessThan(TOLERANCE[dtype])
  })
})
