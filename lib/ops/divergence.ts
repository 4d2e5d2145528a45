import { ArgumentError, ShapeError } from '../errors.js'
import { recording } from '../tensor/tape.js'
import { shapeText, type Tensor } from '../tensor/tensor.js'
import { floatCode, matrix } from './check.js'

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
export type DivergenceKind =
  | 'forwardKL'
  | 'reverseKL'
  | 'symmetricKL'
  | 'jensenShannon'
  | 'totalVariation'
  | 'generalizedJS'

/** Every divergence by name. */
export const DIVERGENCES: readonly DivergenceKind[] = [
  'forwardKL',
  'reverseKL',
  'symmetricKL',
  'jensenShannon',
  'totalVariation',
  'generalizedJS',
]

// DivergenceKind of native/kernels/common/divergenceKind.h; jensenShannon is generalizedJS at 1/2.
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

/**
 * @internal kDivergenceStats of native/kernels/divergence.h: what the forward keeps of a row for the backward. The largest logit of the student
 * comes first, and third what its logarithm of the sum of exponentials is above that (at temperature 1).
 */
export const DIVERGENCE_STATS = 8

/** @internal The kernels' fields for a divergence. @throws ArgumentError for values outside their range */
export function divergenceFields(op: string, kind: DivergenceKind, options: DivergenceOptions) {
  const { temperature = 1, scaleByTemperatureSquared = false } = options
  if (!(kind in CODES))
    throw new ArgumentError(`${op}: there is no divergence '${kind}'; use one of ${DIVERGENCES.join(', ')}`)
  if (!(temperature > 0 && Number.isFinite(temperature)))
    throw new ArgumentError(`${op}: temperature is ${temperature}; give a positive number`)
  const beta = kind === 'generalizedJS' ? options.beta : 0.5
  if (beta === undefined || !(beta > 0 && beta < 1))
    throw new ArgumentError(
      `${op}: beta of generalizedJS is ${beta}; give a number between 0 and 1, or use forwardKL or reverseKL for its two ends`,
    )
  return { kind: CODES[kind], temperature, beta, factor: scaleByTemperatureSquared ? temperature ** 2 : 1 }
}

/**
 * A divergence between the softmaxes of two matrices of logits, row by row. Gradients reach the student only. Logits of -inf mark classes that
 * are masked: they have probability 0, and a log-ratio to them is clamped to +-10,000, so that nothing is ever NaN or infinite.
 *
 * For a language model's vocabulary use `distillHead`, which never holds the logits of all tokens.
 *
 * @param student [rows, classes], float32 or bfloat16
 * @param teacher [rows, classes], float32 or bfloat16
 * @returns float32 [rows]
 * @throws ShapeError when the shapes differ; DTypeError for int32; ArgumentError for options outside their range
 */
export function divergence(
  student: Tensor,
  teacher: Tensor,
  kind: DivergenceKind,
  options: DivergenceOptions = {},
): Tensor {
  const [rows, vocab] = matrix('divergence', 'student', student)
  if (shapeText(student.shape) !== shapeText(teacher.shape))
    throw new ShapeError(
      `divergence: student is ${shapeText(student.shape)} but teacher is ${shapeText(teacher.shape)}; give logits of the same rows and classes`,
    )
  if (vocab === 0) throw new ShapeError(`divergence: student is ${shapeText(student.shape)}; give at least one class`)
  const studentDtype = floatCode('divergence', 'student', student)
  const teacherDtype = floatCode('divergence', 'teacher', teacher)
  const common = { rows, vocab, studentDtype, teacherDtype, ...divergenceFields('divergence', kind, options) }
  const { device } = student
  const record = recording(student)
  const value = device.empty([rows])
  const stats = record ? device.empty([rows, DIVERGENCE_STATS]) : null
  device.launch('divergence', { student, teacher, value, stats, ...common })
  if (record)
    device.tape!.record({
      name: 'divergence',
      inputs: [student, teacher],
      outputs: [value],
      saved: [stats],
      backward: ([dvalue]) => {
        if (!dvalue) return [null, null]
        const dstudent = device.empty(student.shape, student.dtype)
        device.launch('divergenceBackward', { student, teacher, dvalue, stats, dstudent, ...common })
        return [dstudent, null]
      },
    })
  return value
}
