import { ShapeError } from '../errors.js'
import { recording } from '../tensor/tape.js'
import type { Tensor } from '../tensor/tensor.js'
import { checkIndices, floatCode, matrix } from './check.js'

/**
 * The state of the last token of every sequence, which in a causal model has seen all of it.
 *
 * @param x [tokens, hiddenSize], packed
 * @param cuSeqlens int32 [sequences + 1]
 * @returns [sequences, hiddenSize], x's dtype
 * @throws ShapeError or DTypeError. An empty sequence or one beyond the tokens fails on the device: the next read names it.
 */
export function lastToken(x: Tensor, cuSeqlens: Tensor): Tensor {
  return pool('lastTokenPooling', x, cuSeqlens)
}

/**
 * The state of the first token of every sequence, [CLS] in encoders that begin with one.
 *
 * @param x [tokens, hiddenSize], packed
 * @param cuSeqlens int32 [sequences + 1]; no sequence may be empty
 * @returns [sequences, hiddenSize], x's dtype
 * @throws ShapeError or DTypeError
 */
export function firstToken(x: Tensor, cuSeqlens: Tensor): Tensor {
  if (cuSeqlens.size === 0)
    throw new ShapeError('firstToken: cuSeqlens is empty; it has one entry more than there are sequences')
  return gatherRows(x, cuSeqlens.rows(0, cuSeqlens.size - 1))
}

/**
 * The mean of every sequence's token states.
 *
 * @param x [tokens, hiddenSize], packed
 * @param cuSeqlens int32 [sequences + 1]
 * @returns [sequences, hiddenSize], x's dtype
 * @throws ShapeError or DTypeError. An empty sequence or one beyond the tokens fails on the device: the next read names it.
 */
export function meanPooling(x: Tensor, cuSeqlens: Tensor): Tensor {
  return pool('meanPooling', x, cuSeqlens)
}

function pool(name: 'lastTokenPooling' | 'meanPooling', x: Tensor, cuSeqlens: Tensor): Tensor {
  const [tokens, cols] = matrix(name, 'x', x)
  const dtype = floatCode(name, 'x', x)
  checkIndices(name, 'cuSeqlens', cuSeqlens)
  if (cuSeqlens.size === 0)
    throw new ShapeError(`${name}: cuSeqlens is empty; it has one entry more than there are sequences`)
  const sequences = cuSeqlens.size - 1
  const { device } = x
  const y = device.empty([sequences, cols], x.dtype)
  device.launch(name, { x, cuSeqlens, y, tokens, sequences, cols, dtype })
  if (recording(x))
    device.tape!.record({
      name,
      inputs: [x],
      outputs: [y],
      backward: ([dy]) => {
        if (!dy) return [null]
        const dx = device.empty(x.shape, x.dtype)
        device.launch(`${name}Backward`, { dy, cuSeqlens, dx, tokens, sequences, cols, dtype })
        return [dx]
      },
    })
  return y
}

/**
 * Rows by index: y[i] = x[rows[i]]. Repeats are allowed; their gradients add up.
 *
 * @param x [n, cols]
 * @param rows int32 [count]
 * @returns [count, cols], x's dtype
 * @throws ShapeError or DTypeError. An index outside [0, n) fails on the device: the next read names it and its position.
 */
export function gatherRows(x: Tensor, rows: Tensor): Tensor {
  const [xRows, cols] = matrix('gatherRows', 'x', x)
  const dtype = floatCode('gatherRows', 'x', x)
  checkIndices('gatherRows', 'rows', rows)
  const { device } = x
  const count = rows.size
  const y = device.empty([count, cols], x.dtype)
  device.launch('gatherRows', { x, rows, y, xRows, count, cols, dtype })
  if (recording(x))
    device.tape!.record({
      name: 'gatherRows',
      inputs: [x],
      outputs: [y],
      backward: ([dy]) => {
        if (!dy) return [null]
        const dx = device.empty(x.shape, x.dtype)
        device.launch('gatherRowsBackward', { dy, rows, dx, xRows, count, cols, dtype })
        return [dx]
      },
    })
  return y
}

/**
 * Rows scaled to length 1: y = x / max(|x|, eps), |x| the Euclidean norm over the last dimension.
 *
 * @param x [..., cols]
 * @param eps shortest length that is divided by; default 1e-12
 * @returns x's shape and dtype
 * @throws DTypeError for int32
 */
export function l2Normalize(x: Tensor, eps = 1e-12): Tensor {
  const dtype = floatCode('l2Normalize', 'x', x)
  const cols = x.dim(-1)
  const rows = cols === 0 ? 0 : x.size / cols
  const { device } = x
  const record = recording(x)
  const y = device.empty(x.shape, x.dtype)
  const norm = record ? device.empty([rows]) : null
  device.launch('l2Normalize', { x, y, norm, rows, cols, dtype, eps })
  if (record)
    device.tape!.record({
      name: 'l2Normalize',
      inputs: [x],
      outputs: [y],
      saved: [norm],
      backward: ([dy]) => {
        if (!dy) return [null]
        const dx = device.empty(x.shape, x.dtype)
        device.launch('l2NormalizeBackward', { dy, x, norm, dx, rows, cols, dtype, eps })
        return [dx]
      },
    })
  return y
}
