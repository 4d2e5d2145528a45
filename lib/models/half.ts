const EXACT = new Float32Array(2 ** 16)
let filled = false

/** float16 bits to float32, exactly (infinities, NaN and subnormals included). */
export function widenHalf(bits: Uint16Array): Float32Array {
  if (!filled) fillTable()
  const out = new Float32Array(bits.length)
  for (let i = 0; i < bits.length; i++) out[i] = EXACT[bits[i]!]!
  return out
}

/** All 65,536 values: looking one up is faster than computing it. */
function fillTable(): void {
  for (let bits = 0; bits < EXACT.length; bits++) {
    const sign = bits >>> 15 ? -1 : 1
    const exponent = (bits >>> 10) & 31
    const fraction = bits & 1023
    if (exponent === 31) EXACT[bits] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
    else if (exponent === 0) EXACT[bits] = sign * fraction * 2 ** -24
    else EXACT[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
  }
  filled = true
}
