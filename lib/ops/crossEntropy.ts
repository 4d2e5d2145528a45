import { ArgumentError, ShapeError } from '../errors.js'
import { recording } from '../tensor/tape.js'
import { shapeText, type Tensor } from '../tensor/tensor.js'
import { checkIndices, floatCode, matrix } from './check.js'

/** Arguments of `crossEntropy` beyond its tensors. */
export interface CrossEntropyOptions {
  /** Multiplies loss and gradient: 1 / rows of the whole optimiser step gives a mean. Default 1, the sum. */
  scale?: number
  /** float32 [classes]: what a class's errors count. The sum is not divided by them. */
  classWeights?: Tensor | null
  /** Rows with this label are left out; default -100. */
  ignoreIndex?: number
}

/**
 * Softmax cross entropy over rows of logits (LANTERN, equation 6). With labels the loss of a row is -log p[label]; with a matrix of target
 * probabilities it is the forward KL from them, sum q log(q / p), which is the cross entropy up to a constant and 0 where they agree.
 *
 * While a tape records, the gradient is computed here, for an incoming gradient of 1: scale the loss with `scale`, not afterwards.
 *
 * @param logits [rows, classes], float32 or bfloat16; -inf marks a class that is masked
 * @param labels int32 [rows], or target probabilities [rows, classes], float32 or bfloat16, not differentiated
 * @returns loss: [1]; parts: float32 [3], the sum before `scale`, rows whose most probable class is right, rows that count
 * @throws ShapeError, DTypeError when the tensors do not fit; ArgumentError for a scale that is not finite. A label outside the classes
 *   rejects the next read with a DeviceError.
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  options: CrossEntropyOptions = {},
): { loss: Tensor; parts: Tensor } {
  const { scale = 1, classWeights = null, ignoreIndex = -100 } = options
  const [rows, classes] = matrix('crossEntropy', 'logits', logits)
  const soft = labels.dtype !== 'int32'
  if (classes === 0)
    throw new ShapeError(`crossEntropy: logits are ${shapeText(logits.shape)}; give at least one class`)
  if (!soft) checkIndices('crossEntropy', 'labels', labels)
  if (shapeText(labels.shape) !== shapeText(soft ? logits.shape : [rows]))
    throw new ShapeError(
      `crossEntropy: logits are ${shapeText(logits.shape)} but labels are ${labels.dtype} ${shapeText(labels.shape)}; give int32 [${rows}] or probabilities [${rows}, ${classes}]`,
    )
  if (classWeights && (classWeights.dtype !== 'float32' || shapeText(classWeights.shape) !== shapeText([classes])))
    throw new ShapeError(
      `crossEntropy: classWeights are ${classWeights.dtype} ${shapeText(classWeights.shape)}; give float32 [${classes}]`,
    )
  if (!Number.isFinite(scale)) throw new ArgumentError(`crossEntropy: scale is ${scale}; give a finite number`)
  const { device } = logits
  const dtype = floatCode('crossEntropy', 'logits', logits)
  const record = recording(logits)
  const loss = device.empty([1])
  const parts = device.empty([3])
  const dlogits = record ? device.empty(logits.shape, logits.dtype) : null
  device.launch('crossEntropy', {
    logits,
    labels: soft ? null : labels,
    targets: soft ? labels : null,
    classWeights,
    loss,
    parts,
    dlogits,
    rows,
    classes,
    ignoreIndex,
    dtype,
    targetsDtype: soft ? floatCode('crossEntropy', 'labels', labels) : 0,
    scale,
  })
  if (record)
    device.tape!.record({ name: 'crossEntropy', inputs: [logits], outputs: [loss], backward: () => [dlogits] })
  return { loss, parts }
}
