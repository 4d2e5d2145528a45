import type { Decoder } from '../models/decoder.js'
import { distillHead } from '../ops/distillHead.js'
import type { DivergenceKind } from '../ops/divergence.js'
import { cast } from '../ops/elementwise.js'
import { topKDivergence } from '../ops/topKDivergence.js'
import { Tape } from '../tensor/tape.js'
import type { Tensor } from '../tensor/tensor.js'
import { microBatches, type Sample } from '../train/batches.js'
import { joinedSignals, packed } from './objectives.js'
import { signalOf, type TeacherSignal } from './teacherSignal.js'

/** How far a divergence from a teacher's signal is from that of the full distributions, for one student. */
export interface SignalGap {
  divergence: DivergenceKind
  /** Over the whole vocabulary, mean over the tokens: in nats, of totalVariation a share. */
  full: number
  /** Over the k probabilities and the rest as one bucket: never more than `full`, but for rounding. */
  bucketed: number
  /** |bucketed - full| / |full| of the gradients with respect to the student's final hidden states, over all tokens. */
  gradientError: number
}

/** What is compared. */
export interface SignalGapOptions {
  signal: TeacherSignal
  /** All that the signal was made from, in its order. */
  samples: readonly Sample[]
  /** Those of them that are measured on. */
  measured: readonly Sample[]
  /** The one whose signal it is. */
  teacher: Decoder
  /** With the same token ids, as it is before it learns. */
  student: Decoder
  /** Without generalizedJS, which wants a beta. */
  divergences: readonly Exclude<DivergenceKind, 'generalizedJS'>[]
  /** Tokens that are computed at once. */
  microBatchTokens: number
  /** Ends the work early. */
  abort?: AbortSignal
}

/**
 * What keeping only the k most probable tokens costs a student: its divergences and their gradients from the signal, beside those from the
 * teacher itself, both over the ids of the tokenizer and at the signal's temperature.
 * @returns null when it was interrupted
 * @throws TeacherSignalError ERR_SIGNAL_MISMATCH for other samples, ERR_SIGNAL_DAMAGED
 */
export async function signalGaps(options: SignalGapOptions): Promise<SignalGap[] | null> {
  const { signal, samples, measured, teacher, student, divergences, microBatchTokens, abort } = options
  const { device } = student
  const signalFor = signalOf(signal, samples)
  const { topK: k, temperature, vocabulary } = signal.header
  const sums = divergences.map(() => ({ full: 0, bucketed: 0, difference: 0, norm: 0 }))
  let tokens = 0
  for (const micro of microBatches(measured, microBatchTokens)) {
    if (abort?.aborted) return null
    using _scope = device.scope()
    const { batch, labels } = packed(device, micro)
    const said = joinedSignals(micro, signalFor)
    tokens += said.tokens.length
    const states = teacher.forward(batch)
    const hidden = cast(student.forward(batch), 'float32') // so that what is compared are not roundings of gradients
    hidden.requiresGrad = true
    const head = student.headWeight.rows(0, vocabulary)
    const common = { hidden, weight: head, temperature }
    for (const [i, divergence] of divergences.entries()) {
      const fromTeacher = { hidden: states, weight: teacher.headWeight.rows(0, vocabulary) }
      const full = await gradientOf(hidden, () => {
        const loss = distillHead({ ...common, teacher: fromTeacher, labels, divergence, lambdaSft: 0, lambdaKd: 1 })
        return loss.loss
      })
      const bucketed = await gradientOf(
        hidden,
        () => topKDivergence({ ...common, teacher: { k, ...said }, divergence, vocabulary }).loss,
      )
      const sum = sums[i]!
      sum.full += full.loss
      sum.bucketed += bucketed.loss
      full.gradient.forEach((g, at) => {
        sum.difference += (bucketed.gradient[at]! - g) ** 2
        sum.norm += g ** 2
      })
    }
  }
  return sums.map(({ full, bucketed, difference, norm }, i) => ({
    divergence: divergences[i]!,
    full: full / tokens,
    bucketed: bucketed / tokens,
    gradientError: difference === 0 ? 0 : Math.sqrt(difference / norm),
  }))
}

/** A loss, and its gradient with respect to one tensor. */
async function gradientOf(x: Tensor, lossOf: () => Tensor): Promise<{ loss: number; gradient: Float32Array }> {
  const { device } = x
  using _scope = device.scope()
  using tape = new Tape(device)
  const loss = lossOf()
  const value = loss.item()
  const [gradient] = tape.gradients([loss], [device.tensor([1])], [x])
  return { loss: await value, gradient: await gradient!.floats() }
}
