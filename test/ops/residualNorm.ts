import { FLOATS } from '../support.js'

/** Rows and columns that the norms are tested on. */
export const SHAPES = [
  [1, 5],
  [3, 7],
  [17, 64],
  [130, 33],
  [257, 200],
  [110, 1051], // more rows than blocks of several warps run at a time
] as const

/** dtypes of the branches and of the residual stream. */
export const STREAMS = [
  ['float32', 'float32'],
  ['bfloat16', 'bfloat16'],
  ['bfloat16', 'float32'],
] as const

/** Every mix of dtypes of stream, branch and weight. */
export const MIXES = FLOATS.flatMap((a) => FLOATS.flatMap((b) => FLOATS.map((c) => [a, b, c] as const)))
