import type { Tensor } from '../tensor/tensor.js'
import type { ParameterTable } from './adamw.js'

/**
 * The global Euclidean norm of all gradients of a table, float32 [1], in one launch: the same bits whatever the number of threads.
 * It is NaN or infinite exactly when a gradient is, so it is also the check for a diverged step.
 */
export function gradNorm(table: ParameterTable): Tensor {
  const norm = table.device.empty([1])
  table.device.launch('gradNorm', { table: table.rows, norm, tensors: table.entries.length })
  return norm
}
