import { gradOf, needsGrad, recording } from '../tensor/tape.js'
import { type DType, dtypeCode, type Tensor } from '../tensor/tensor.js'
import { checkIndices, floatCode, matrix } from './check.js'

/**
 * Rows of a table: y[i] = weight[ids[i]].
 *
 * @param ids int32 [tokens]
 * @param weight [vocabSize, hiddenSize], float32 or bfloat16
 * @param options.dtype of the result; default: the weight's
 * @returns [tokens, hiddenSize]
 * @throws ShapeError or DTypeError for operands of another kind. An id outside [0, vocabSize) fails on the device: the next read rejects
 *   with a DeviceError that names the id and its position.
 */
export function embedding(ids: Tensor, weight: Tensor, options: { dtype?: Exclude<DType, 'int32'> } = {}): Tensor {
  checkIndices('embedding', 'ids', ids)
  const [vocab, hidden] = matrix('embedding', 'weight', weight)
  const weightDtype = floatCode('embedding', 'weight', weight)
  const { device } = weight
  const tokens = ids.size
  const y = device.empty([tokens, hidden], options.dtype ?? weight.dtype)
  const dtype = dtypeCode(y.dtype)
  device.launch('embedding', { weight, ids, y, tokens, vocab, hidden, dtype, weightDtype })
  if (recording(weight))
    device.tape!.record({
      name: 'embedding',
      inputs: [weight],
      outputs: [y],
      backward: ([dy]) => {
        if (dy && needsGrad(weight))
          device.launch('embeddingBackward', { dy, ids, dweight: gradOf(weight), tokens, vocab, hidden, dtype })
        return [null]
      },
    })
  return y
}
