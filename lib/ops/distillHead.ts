import { ArgumentError, ShapeError } from '../errors.js'
import { gradOf, needsGrad, recording } from '../tensor/tape.js'
import { shapeText, type Tensor } from '../tensor/tensor.js'
import { checkIndices, floatCode, matrix } from './check.js'
import { type DivergenceKind, type DivergenceOptions, divergenceFields } from './divergence.js'

/** Label of a token that has none. */
export const IGNORE_INDEX = -100

/**
 * What to do when the two vocabularies differ in size (padding of the embedding matrix):
 *
 * - `error`: refuse
 * - `truncate`: the divergence runs over the rows that both have, each side normalised over those
 * - `mask`: it runs over all rows; one that a model does not have has probability 0 there
 */
export type VocabularyPolicy = 'error' | 'truncate' | 'mask'

/** Arguments of `linearCrossEntropy` beyond its tensors. */
export interface HeadOptions {
  /** Multiplies loss and gradients: 1 / valid tokens of the whole optimiser step gives a mean. Default 1, the sum. */
  scale?: number
  /** Tokens with this label are left out; default -100. */
  ignoreIndex?: number
  /** Also return the loss of every token; default false. */
  perToken?: boolean
}

/** Arguments of `distillHead`. */
export interface DistillLoss extends HeadOptions, DivergenceOptions {
  /** The student's final hidden states [tokens, hiddenSize], float32 or bfloat16. */
  hidden: Tensor
  /** The student's head matrix [vocab, hiddenSize], float32 or bfloat16. */
  weight: Tensor
  /** The teacher's final hidden states [tokens, teacherHiddenSize] and head matrix [teacherVocab, teacherHiddenSize]; never differentiated. */
  teacher: { hidden: Tensor; weight: Tensor }
  /** int32 [tokens], already shifted: the token to predict, or ignoreIndex. */
  labels: Tensor
  divergence: DivergenceKind
  /** Weight of the cross entropy; default 0.1. */
  lambdaSft?: number
  /** Weight of the divergence; default 0.9. */
  lambdaKd?: number
  /** Default `error`. */
  vocabularyPolicy?: VocabularyPolicy
}

/** What a head returns. */
export interface HeadLoss {
  /** Of shape [1]: scale * sum over valid tokens of lambdaSft * CE + lambdaKd * divergence. Back-propagate from it with a gradient of 1. */
  loss: Tensor
  /**
   * float32 [5], sums over valid tokens, not scaled: cross entropy; divergence (without temperature squared); the teacher's entropy at the
   * temperature; tokens where the most probable classes agree; number of valid tokens.
   */
  parts: Tensor
  /** float32 [tokens], lambdaSft * CE + lambdaKd * divergence, 0 where ignored; null unless perToken. */
  tokenLoss: Tensor | null
}

/**
 * The fused linear distillation head: both output projections, cross entropy with the labels, a divergence from the teacher, and the gradients
 * of the student's hidden states and head matrix, in one pass over chunks of tokens. Logits are float32 and never exist for all tokens;
 * the working memory (below 64 MB at a vocabulary of 152,000) does not grow with their number; tokens without a label cost nothing.
 *
 * While a tape records, the gradients are computed here, for an incoming gradient of 1: that of `hidden` is handed on by the backward,
 * that of `weight` is added, in float32, into `weight.grad` at once. Scale the loss with `scale`, not afterwards.
 *
 * @throws ShapeError, DTypeError when the tensors do not fit; ArgumentError for options outside their range or vocabularies of different
 *   size under the policy `error`. A label outside the vocabulary rejects the next read with a DeviceError.
 */
export function distillHead(options: DistillLoss): HeadLoss {
  const { weight, teacher, vocabularyPolicy = 'error', lambdaSft = 0.1, lambdaKd = 0.9 } = options
  const [teacherTokens, teacherHiddenSize] = matrix('distillHead', 'teacher.hidden', teacher.hidden)
  const [teacherVocab, teacherColumns] = matrix('distillHead', 'teacher.weight', teacher.weight)
  const [tokens] = matrix('distillHead', 'hidden', options.hidden)
  const [vocab] = matrix('distillHead', 'weight', weight)
  if (teacherTokens !== tokens)
    throw new ShapeError(
      `distillHead: hidden is ${shapeText(options.hidden.shape)} but teacher.hidden is ${shapeText(teacher.hidden.shape)}; run both models on the same tokens`,
    )
  if (teacherColumns !== teacherHiddenSize)
    throw new ShapeError(
      `distillHead: teacher.hidden is ${shapeText(teacher.hidden.shape)} but teacher.weight is ${shapeText(teacher.weight.shape)}; the second dimensions must be equal`,
    )
  const { factor, ...fields } = divergenceFields('distillHead', options.divergence, options)
  return launch('distillHead', options, {
    ...fields,
    teacherHidden: teacher.hidden,
    teacherWeight: teacher.weight,
    teacherHiddenSize,
    teacherVocab,
    kdVocab: sharedVocabulary(vocab, teacherVocab, vocabularyPolicy),
    teacherHiddenDtype: floatCode('distillHead', 'teacher.hidden', teacher.hidden),
    teacherWeightDtype: floatCode('distillHead', 'teacher.weight', teacher.weight),
    lambdaSft: finite('lambdaSft', lambdaSft),
    lambdaKd: finite('lambdaKd', lambdaKd) * factor,
  })
}

/**
 * The head without a teacher: softmax cross entropy of hidden weight^T with the labels, fused as in `distillHead`.
 *
 * @param hidden [tokens, hiddenSize], float32 or bfloat16
 * @param weight [vocab, hiddenSize], float32 or bfloat16
 * @param labels int32 [tokens], already shifted
 * @returns as `distillHead`, with zeros in the teacher's parts
 * @throws as `distillHead`
 */
export function linearCrossEntropy(
  hidden: Tensor,
  weight: Tensor,
  labels: Tensor,
  options: HeadOptions = {},
): HeadLoss {
  return launch(
    'linearCrossEntropy',
    { hidden, weight, labels, ...options },
    {
      kind: 0,
      temperature: 1,
      beta: 0.5,
      teacherHidden: null,
      teacherWeight: null,
      teacherHiddenSize: 0,
      teacherVocab: 0,
      kdVocab: 0,
      teacherHiddenDtype: 0,
      teacherWeightDtype: 0,
      lambdaSft: 1,
      lambdaKd: 0,
    },
  )
}

type Student = HeadOptions & Pick<DistillLoss, 'hidden' | 'weight' | 'labels'>

function launch(op: string, student: Student, fields: Record<string, Tensor | number | null>): HeadLoss {
  const { hidden, weight, labels, scale = 1, ignoreIndex = IGNORE_INDEX, perToken = false } = student
  const [tokens, hiddenSize] = matrix(op, 'hidden', hidden)
  const [vocab, columns] = matrix(op, 'weight', weight)
  checkIndices(op, 'labels', labels)
  if (columns !== hiddenSize)
    throw new ShapeError(
      `${op}: hidden is ${shapeText(hidden.shape)} but weight is ${shapeText(weight.shape)}; the second dimensions must be equal`,
    )
  if (labels.size !== tokens)
    throw new ShapeError(
      `${op}: hidden is ${shapeText(hidden.shape)} but labels are ${shapeText(labels.shape)}; give one label per token`,
    )
  if (vocab === 0 || hiddenSize === 0)
    throw new ShapeError(
      `${op}: weight is ${shapeText(weight.shape)}; give a head with at least one row and one column`,
    )
  const { device } = hidden
  const record = recording(hidden, weight)
  const loss = device.empty([1])
  const parts = device.empty([5])
  const tokenLoss = perToken ? device.empty([tokens]) : null
  const dhidden = record && needsGrad(hidden) ? device.empty(hidden.shape, hidden.dtype) : null
  device.launch('distillHead', {
    hidden,
    weight,
    labels,
    loss,
    parts,
    tokenLoss,
    dhidden,
    dweight: record && needsGrad(weight) ? gradOf(weight) : null,
    tokens,
    hiddenSize,
    vocab,
    ignoreIndex,
    hiddenDtype: floatCode(op, 'hidden', hidden),
    weightDtype: floatCode(op, 'weight', weight),
    scale: finite('scale', scale),
    ...fields,
  })
  if (record)
    device.tape!.record({
      name: op,
      inputs: [hidden, weight],
      outputs: [loss],
      backward: () => [dhidden, null],
    })
  return { loss, parts, tokenLoss }
}

/** Rows of the vocabulary that the divergence runs over. */
function sharedVocabulary(vocab: number, teacherVocab: number, policy: VocabularyPolicy): number {
  if (policy === 'truncate') return Math.min(vocab, teacherVocab)
  if (policy === 'mask') return Math.max(vocab, teacherVocab)
  if (policy !== 'error')
    throw new ArgumentError(
      `distillHead: there is no vocabularyPolicy '${String(policy)}'; use error, truncate or mask`,
    )
  if (vocab !== teacherVocab)
    throw new ArgumentError(
      `distillHead: the student's vocabulary has ${vocab} rows and the teacher's ${teacherVocab}; if token ids mean the same in both, set vocabularyPolicy to 'truncate' or 'mask'`,
    )
  return vocab
}

function finite(name: string, value: number): number {
  if (!Number.isFinite(value)) throw new ArgumentError(`distillHead: ${name} is ${value}; give a finite number`)
  return value
}
