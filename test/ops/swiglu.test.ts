import { swiglu, swigluPacked } from '../../lib/ops/swiglu.js'
import { gatedUnitTests } from './gatedUnit.js'

gatedUnitTests('swiglu', { apart: swiglu, packed: swigluPacked }, (z) => {
  const s = 1 / (1 + Math.exp(-z))
  return { value: z * s, slope: s * (1 + z * (1 - s)) }
})
