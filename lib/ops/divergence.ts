import { ArgumentError } from '../errors.js'

/**
 * Divergences between the teacher's distribution p_t and the student's p_s, per token (LANTERN, equations 2 to 5):
 *
 * - `forwardKL`: sum p_t log(p_t / p_s)
 * - `reverseKL`: sum p_s log(p_s / p_t)
 * - `symmetricKL`: the sum of both
 * - `jensenShannon`: 1/2 KL(p_t, m) + 1/2 KL(p_s, m) with m = (p_t + p_s) / 2
 * - `totalVariation`: 1/2 sum |p_t - p_s|
 * - `generalizedJS`: beta KL(p_t, m) + (1 - beta) KL(p_s, m) with m = beta p_t + (1 - beta) p_s
 */
export type DivergenceKind = 'forwardKL' | 'reverseKL' | 'symmetricKL' | 'jensenShannon' | 'totalVariation' | 'generalizedJS'

/** Every divergence by name. */
export const DIVERGENCES: readonly DivergenceKind[] = [
  'forwardKL',
  'reverseKL',
  'symmetricKL',
  'jensenShannon',
  'totalVariation',
  'generalizedJS',
]

// DivergenceKind of native/kernels/common/divergenceMath.h; jensenShannon is generalizedJS at 1/2.
const CODES: Record<DivergenceKind, number> = {
  forwardKL: 1,
  reverseKL: 2,
  symmetricKL: 3,
  jensenShannon: 4,
  generalizedJS: 4,
  totalVariation: 5,
}

/** How a divergence is taken. */
export interface DivergenceOptions {
  /** Both softmaxes are of logits / temperature; default 1. */
  temperature?: number
  /** Multiplies the divergence by temperature squared, which keeps its gradient's size (Hinton et al. 2015); default false. */
  scaleByTemperatureSquared?: boolean
  /** The teacher's share in the mixture of `generalizedJS`, between 0 and 1; required there and ignored elsewhere. */
  beta?: number
}

/** @internal The kernels' fields for a divergence. @throws ArgumentError for values outside their range */
export function divergenceFields(op: string, kind: DivergenceKind, options: DivergenceOptions) {
  const { temperature = 1, scaleByTemperatureSquared = false } = options
  if (!(kind in CODES)) throw new ArgumentError(`${op}: there is no divergence '${kind}'; use one of ${DIVERGENCES.join(', ')}`)
  if (!(temperature > 0 && Number.isFinite(temperature)))
    throw new ArgumentError(`${op}: temperature is ${temperature}; give a positive number`)
  const beta = kind === 'generalizedJS' ? options.beta : 0.5
  if (beta === undefined || !(beta > 0 && beta < 1))
    throw new ArgumentError(
      `${op}: beta of generalizedJS is ${beta}; give a number between 0 and 1, or use forwardKL or reverseKL for its two ends`,
    )
  return { kind: CODES[kind], temperature, beta, factor: scaleByTemperatureSquared ? temperature ** 2 : 1 }
}
