import { ArgumentError, ShapeError } from '../errors.js'
import { gradOf, needsGrad, recording, Tape } from '../tensor/tape.js'
import { dtypeCode, shapeText, type Tensor } from '../tensor/tensor.js'
import { floatCode, matrix } from './check.js'
import { DIVERGENCE_STATS, type DivergenceKind, divergence, divergenceFields } from './divergence.js'
import { add, columns, concat, copyInto, fill, scale as scaled } from './elementwise.js'
import { linear } from './linear.js'
import { gatherRows } from './pooling.js'

/** What is kept of a teacher's distributions, on the host: of every token the k most probable ids, and the rest as one bucket. */
export interface TopKTeacher {
  k: number
  /** [rows]: the token of `hidden` that each row is of; no token twice. */
  tokens: Int32Array
  /** [rows, k], no id twice in a row */
  ids: Int32Array
  /** [rows, k + 1], natural logarithms at the temperature: of the ids' probabilities in their order, and of the mass of all others. */
  logProbabilities: Float32Array
}

/** Arguments of `topKDivergence`. */
export interface TopKLoss {
  /** The student's final hidden states [tokens, hiddenSize], float32 or bfloat16. */
  hidden: Tensor
  /** The student's head matrix [vocab, hiddenSize], float32 or bfloat16. */
  weight: Tensor
  teacher: TopKTeacher
  divergence: DivergenceKind
  /** Softmax temperature of the student: the one that the teacher's probabilities are of; default 1. */
  temperature?: number
  /** Of generalizedJS. */
  beta?: number
  /** Ids that the teacher's distributions are over; the student's softmax is taken over the same. Default: all rows of `weight`. */
  vocabulary?: number
  /** Multiplies loss and gradients; default 1, the sum. */
  scale?: number
}

/**
 * A divergence between k + 1 classes: the teacher's k most probable ids, and all others as one bucket, whose probability for the student is
 * what its k leave of 1. Its logit is the log-sum-exp of all other logits, so nothing is lost by subtraction; docs/KD.md has the formulae.
 *
 * Logits are float32 and exist for a chunk of tokens at a time. While a tape records, the gradients are computed here, for an incoming
 * gradient of 1, as those of `distillHead` are: scale the loss with `scale`, not afterwards.
 *
 * @returns loss [1]; sum: float32 [1], the sum over the rows before `scale`
 * @throws ShapeError, DTypeError when the operands do not fit; ArgumentError for options outside their range. An id outside the
 *   vocabulary rejects the next read with a DeviceError.
 */
export function topKDivergence(options: TopKLoss): { loss: Tensor; sum: Tensor } {
  const { hidden, weight, teacher, scale = 1, temperature = 1, vocabulary = weight.dim(0) } = options
  check(options, vocabulary)
  const { device } = hidden
  const record = recording(hidden, weight)
  const { tape } = device
  device.tape = null // the gradients are computed here
  const sum = device.zeros([1])
  const dhidden = record && needsGrad(hidden) ? device.zeros(hidden.shape) : null
  const rows = teacher.tokens.length
  const step = chunkRows(vocabulary)
  try {
    const head = weight.rows(0, vocabulary)
    if (record && needsGrad(weight)) {
      head.requiresGrad = true
      head.grad = gradOf(weight).rows(0, vocabulary)
    }
    for (let from = 0; from < rows; from += step) {
      using _scope = device.scope()
      const part = slice(teacher, from, Math.min(rows, from + step))
      chunk(options, head, part, vocabulary, { sum, dhidden, dvalue: record ? scale / temperature : null })
    }
  } finally {
    device.tape = tape
  }
  const loss = scaled(sum, scale)
  if (record) {
    const handed =
      dhidden && hidden.dtype !== 'float32' ? copyInto(device.empty(hidden.shape, hidden.dtype), dhidden) : dhidden
    if (handed !== dhidden) dhidden?.dispose()
    tape!.record({ name: 'topKDivergence', inputs: [hidden, weight], outputs: [loss], backward: () => [handed, null] })
  }
  return { loss, sum }
}

/** Elements of a chunk's logits: three times as many floats are the working memory. */
const CHUNK = 1 << 23

const chunkRows = (vocabulary: number): number => Math.max(1, Math.min(1024, Math.floor(CHUNK / vocabulary)))

interface Sums {
  sum: Tensor
  /** float32 [tokens, hiddenSize]; null where the student's hidden states need no gradient. */
  dhidden: Tensor | null
  /** Gradient of every row's value with respect to the logits at the temperature; null: none is wanted. */
  dvalue: number | null
}

/** Forward and backward of some rows: adds to the sums, and to the gradient of the head. */
function chunk(options: TopKLoss, head: Tensor, teacher: TopKTeacher, vocabulary: number, sums: Sums): void {
  const { hidden, divergence: kind, beta, temperature = 1 } = options
  const { device } = hidden
  const rows = teacher.tokens.length
  const tokens = device.tensor(teacher.tokens)
  const states = gatherRows(hidden, tokens)
  states.requiresGrad = sums.dhidden !== null
  using tape = new Tape(device)
  const logits = linear(states, head, { dtype: 'float32' })
  device.tape = null
  const at = device.tensor(teacher.ids.map((id, i) => Math.floor(i / teacher.k) * vocabulary + id)) // places in all of the logits
  const tempered = temperature === 1 ? logits : scaled(logits, 1 / temperature)
  const top = gatherRows(tempered.view([rows * vocabulary, 1]), at).view([rows, teacher.k])
  const rest = restOf(tempered, at, teacher.k)
  const student = concat(top, rest.logit)
  student.requiresGrad = sums.dvalue !== null
  using inner = new Tape(device)
  const value = divergence(student, device.tensor(teacher.logProbabilities, [rows, teacher.k + 1]), kind, { beta })
  device.launch('columnSum', { x: value, sum: sums.sum, rows, cols: 1, ldx: 1, dtype: dtypeCode('float32') })
  if (sums.dvalue === null) return
  const [dstudent] = inner.gradients([value], [fill(device.empty([rows]), sums.dvalue)], [student])
  const dlogits = rest.backward(columns(dstudent!, 0, teacher.k), columns(dstudent!, teacher.k, teacher.k + 1))
  const [dstates] = tape.gradients([logits], [dlogits], [states])
  if (sums.dhidden) scatterAdd(sums.dhidden, tokens, dstates!)
}

/**
 * The log-sum-exp of what is left of the logits without those at `at`, which become -inf in place; its gradient is the softmax of what is
 * left. Both come from the divergence kernel, as the forward KL from a teacher that is certain of one of the places: its gradient is the
 * student's softmax, less 1 at that place, which the backward gives back with the place's own gradient.
 *
 * @param logits float32 [rows, classes]
 * @param at int32 [rows * k]: places in all of the logits, k of every row in order
 */
function restOf(logits: Tensor, at: Tensor, k: number) {
  const { device } = logits
  const [rows, vocab] = [logits.dim(0), logits.dim(1)]
  scatterAdd(logits.view([logits.size, 1]), at, fill(device.empty([rows * k, 1]), Number.NEGATIVE_INFINITY))
  const certain = fill(device.empty(logits.shape), IMPOSSIBLE)
  const firsts = device.tensor(onFirst(rows, k, -IMPOSSIBLE), [rows * k, 1])
  scatterAdd(certain.view([logits.size, 1]), at, firsts)
  const stats = device.empty([rows, DIVERGENCE_STATS])
  const { factor: _factor, ...fields } = divergenceFields('topKDivergence', 'forwardKL', {})
  const common = { rows, vocab, studentDtype: 0, teacherDtype: 0, factor: 1, ...fields }
  device.launch('divergence', { student: logits, teacher: certain, value: device.empty([rows]), stats, ...common })
  return {
    /** [rows, 1] */
    logit: add(columns(stats, 0, 1), columns(stats, 2, 3)),
    /** Gradient of all logits from those of the places [rows, k] and of the rest [rows, 1]. */
    backward(dtop: Tensor, drest: Tensor): Tensor {
      const dlogits = device.empty(logits.shape)
      const dvalue = drest.view([rows])
      device.launch('divergenceBackward', {
        student: logits,
        teacher: certain,
        dvalue,
        stats,
        dstudent: dlogits,
        ...common,
      })
      const back = k === 1 ? drest : concat(drest, device.zeros([rows, k - 1]))
      scatterAdd(dlogits.view([logits.size, 1]), at, add(dtop, back).view([rows * k, 1]))
      return dlogits
    },
  }
}

/** A logit that leaves no probability, and finite, so that adding its opposite gives 0. */
const IMPOSSIBLE = -1e30

function onFirst(rows: number, k: number, value: number): Float32Array {
  const y = new Float32Array(rows * k)
  for (let row = 0; row < rows; row++) y[row * k] = value
  return y
}

/** y[ids[i]] += x[i]: y float32 [n, width], x [ids, width]. */
function scatterAdd(y: Tensor, ids: Tensor, x: Tensor): void {
  const [vocab, hidden] = [y.dim(0), y.dim(1)]
  const params = { dy: x, ids, dweight: y, tokens: ids.size, vocab, hidden, dtype: dtypeCode(x.dtype) }
  y.device.launch('embeddingBackward', params)
}

function slice({ k, tokens, ids, logProbabilities }: TopKTeacher, from: number, to: number): TopKTeacher {
  return {
    k,
    tokens: tokens.subarray(from, to),
    ids: ids.subarray(from * k, to * k),
    logProbabilities: logProbabilities.subarray(from * (k + 1), to * (k + 1)),
  }
}

function check({ hidden, weight, teacher, divergence: kind, ...options }: TopKLoss, vocabulary: number): void {
  const [, hiddenSize] = matrix('topKDivergence', 'hidden', hidden)
  const [vocab, width] = matrix('topKDivergence', 'weight', weight)
  floatCode('topKDivergence', 'hidden', hidden)
  floatCode('topKDivergence', 'weight', weight)
  divergenceFields('topKDivergence', kind, options)
  if (width !== hiddenSize)
    throw new ShapeError(
      `topKDivergence: hidden is ${shapeText(hidden.shape)} but weight is ${shapeText(weight.shape)}; the second dimensions must be equal`,
    )
  const { k, tokens, ids, logProbabilities } = teacher
  const rows = tokens.length
  if (ids.length !== rows * k || logProbabilities.length !== rows * (k + 1))
    throw new ShapeError(
      `topKDivergence: ${rows} tokens and k = ${k}, but ${ids.length} ids and ${logProbabilities.length} log-probabilities; give ${rows * k} and ${rows * (k + 1)}`,
    )
  if (!Number.isInteger(vocabulary) || vocabulary > vocab || !(k >= 1 && k < vocabulary))
    throw new ArgumentError(
      `topKDivergence: k is ${k} and the vocabulary ${vocabulary}; give k from 1 to one less than the vocabulary, and that up to the head's ${vocab} rows`,
    )
  const { scale = 1 } = options
  if (!Number.isFinite(scale)) throw new ArgumentError(`topKDivergence: scale is ${scale}; give a finite number`)
}
