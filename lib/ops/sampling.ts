import { ArgumentError, ShapeError } from '../errors.js'
import type { Tensor } from '../tensor/tensor.js'
import { floatCode, matrix } from './check.js'

/** How one row is sampled. */
export interface RowSampling {
  /** Softmax temperature; 0 (the default) and anything below 1e-5: always the most likely token. */
  temperature?: number
  /** Keep the k most likely tokens; 0 (the default): all. */
  topK?: number
  /** Keep the fewest most likely tokens that together reach this probability, after topK; 1 (the default): all. */
  topP?: number
  /** Logits of previous tokens are divided by it where positive, multiplied where negative; 1 (the default): off. */
  repetitionPenalty?: number
  /** Ids that the penalty applies to, each once however often it occurs. */
  previous?: readonly number[] | Int32Array
  /** Seed of the draws; default 0. */
  seed?: number
  /** Tells sequences with one seed apart; default 0. */
  sequence?: number
  /** Number of the draw within the sequence; default 0. */
  step?: number
}

/** Settings of a batch. */
export interface SamplingBatch {
  /** One entry per row of logits. */
  rows: readonly RowSampling[]
  /** Ids at and above are never drawn: the tokenizer's size where the model's vocabulary is padded. Default: all columns. */
  vocabularyLimit?: number
}

/**
 * The next token of every row of logits. A draw is a function of the row, its settings, seed, sequence and step: the same whatever else is
 * in the batch. Equal logits rank by id, the lower first.
 *
 * @param logits [rows, vocabSize], float32 or bfloat16
 * @returns ids int32 [rows] and logProbabilities float32 [rows], natural logarithms under the model's own distribution: below
 *   vocabularyLimit, before penalty, temperature and truncation
 * @throws ShapeError when the number of settings differs from the rows; ArgumentError for a setting out of range. A row with NaN, +infinity
 *   or nothing but -infinity, or a previous id outside the vocabulary, fails on the device: the next read names it.
 */
export function sample(logits: Tensor, batch: SamplingBatch): { ids: Tensor; logProbabilities: Tensor } {
  const [rows, cols] = matrix('sample', 'logits', logits)
  const dtype = floatCode('sample', 'logits', logits)
  const limit = batch.vocabularyLimit ?? cols
  if (batch.rows.length !== rows)
    throw new ShapeError(`sample: ${rows} rows of logits but ${batch.rows.length} settings; give one for each row`)
  if (!Number.isInteger(limit) || limit < 1 || limit > cols)
    throw new ArgumentError(
      `sample: vocabularyLimit is ${limit}; give an integer from 1 to the ${cols} columns of the logits`,
    )
  const { device } = logits
  const ids = device.empty([rows], 'int32')
  const logProbs = device.empty([rows])
  const packed = pack(batch.rows)
  const settings = device.tensor(packed.settings, [rows, 3])
  const draws = device.tensor(packed.draws, [rows, 5])
  const previous = packed.previous ? device.tensor(packed.previous) : null
  const cuPrevious = packed.previous ? device.tensor(packed.cuPrevious) : null
  device.launch('sampling', { logits, settings, draws, previous, cuPrevious, ids, logProbs, rows, cols, limit, dtype })
  for (const t of [settings, draws, previous, cuPrevious]) t?.dispose()
  return { ids, logProbabilities: logProbs }
}

/** The kernel's layout: native/kernels/sampling.h. */
function pack(rows: readonly RowSampling[]) {
  const settings = new Float32Array(rows.length * 3)
  const draws = new Int32Array(rows.length * 5)
  const cuPrevious = new Int32Array(rows.length + 1)
  const penalised = rows.map((r) => ((r.repetitionPenalty ?? 1) === 1 ? [] : (r.previous ?? [])))
  rows.forEach((row, i) => {
    const { temperature, topK, topP, repetitionPenalty, seed, sequence, step } = checkSampling(row, `row ${i}`)
    settings.set([temperature, topP, repetitionPenalty], i * 3)
    draws.set([topK, seed, Math.floor(seed / 2 ** 32), sequence, step], i * 5)
    cuPrevious[i + 1] = cuPrevious[i]! + penalised[i]!.length
  })
  const total = cuPrevious[rows.length]!
  const previous = total > 0 ? new Int32Array(total) : null
  penalised.forEach((ids, i) => {
    previous?.set(ids, cuPrevious[i])
  })
  return { settings, draws, cuPrevious, previous }
}

/**
 * Fills in the defaults of a row's settings and checks their ranges.
 * @param what whose settings these are, for the message
 * @throws ArgumentError naming the setting that is out of range
 */
export function checkSampling(settings: RowSampling, what: string): Required<Omit<RowSampling, 'previous'>> {
  const { temperature = 0, topK = 0, topP = 1, repetitionPenalty = 1, seed = 0, sequence = 0, step = 0 } = settings
  const expect = (name: string, value: number, fine: boolean, range: string) => {
    if (!fine) throw new ArgumentError(`sample: ${name} of ${what} is ${value}; give ${range}`)
  }
  const penaltyFits = repetitionPenalty >= 1e-3 && repetitionPenalty <= 1e3
  expect('temperature', temperature, temperature >= 0 && temperature <= 1e6, 'a number from 0 to 1e6')
  expect('topP', topP, topP > 0 && topP <= 1, 'a number above 0 and up to 1')
  expect('repetitionPenalty', repetitionPenalty, penaltyFits, 'a number from 0.001 to 1000')
  expect('topK', topK, isCount(topK) && topK < 2 ** 31, 'an integer of 0 or more')
  expect('seed', seed, Number.isSafeInteger(seed), 'an integer of up to 53 bits')
  expect('sequence', sequence, isCount(sequence) && sequence < 2 ** 32, 'an integer of 0 or more, below 2^32')
  expect('step', step, isCount(step) && step < 2 ** 32, 'an integer of 0 or more, below 2^32')
  return { temperature, topK, topP, repetitionPenalty, seed, sequence, step }
}

const isCount = (x: number): boolean => Number.isInteger(x) && x >= 0
