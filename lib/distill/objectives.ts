import type { Decoder } from '../models/decoder.js'
import type { Model } from '../models/model.js'
import { type Packed, pack } from '../models/packed.js'
import { crossEntropy } from '../ops/crossEntropy.js'
import { type DistillLoss, distillHead, linearCrossEntropy } from '../ops/distillHead.js'
import { add, columns, concat } from '../ops/elementwise.js'
import { topKDivergence } from '../ops/topKDivergence.js'
import type { Device } from '../tensor/device.js'
import type { Tensor } from '../tensor/tensor.js'
import { type Sample, sequencesOf } from '../train/batches.js'
import type { LossParts, Objective } from '../train/trainer.js'
import { type SampleSignal, signalOf, type TeacherSignal } from './teacherSignal.js'

/** Supervised fine-tuning: cross entropy of the next token. */
export function languageModelling(model: Decoder): Objective {
  return {
    parts: ['ce', 'kd', 'teacherEntropy', 'agreement', 'valid'],
    loss(samples, scale) {
      const { batch, labels } = packed(model.device, samples)
      return linearCrossEntropy(model.forward(batch), model.headWeight, labels, { scale })
    },
    total: (sums, valid) => ({ loss: sums.ce! / valid, ce: sums.ce! / valid }),
    flops: (samples) => 3 * forwardFlops(model, samples),
  }
}

/** What a student learns from a teacher. */
export interface DistillationOptions {
  divergence: DistillLoss['divergence']
  /** Weight of the cross entropy with the labels; default 0.1. */
  lambdaSft?: number
  /** Weight of the divergence from the teacher; default 0.9. */
  lambdaKd?: number
  /** Softmax temperature of the divergence; default 1. */
  temperature?: number
  /** Of generalizedJS. */
  beta?: number
  /** Vocabularies of different padding; default error. */
  vocabularyPolicy?: DistillLoss['vocabularyPolicy']
}

/**
 * White-box distillation (LANTERN, equations 1 to 5): lambdaSft * CE + lambdaKd * divergence(teacher, student), per valid token.
 * The teacher is frozen; it may differ in hidden size, depth and padding of the vocabulary, not in the meaning of token ids.
 */
export function distillation(student: Decoder, teacher: Decoder, options: DistillationOptions): Objective {
  const lambdaSft = options.lambdaSft ?? 0.1
  const lambdaKd = options.lambdaKd ?? 0.9
  return {
    parts: ['ce', 'kd', 'teacherEntropy', 'agreement', 'valid'],
    loss(samples, scale) {
      const { batch, labels } = packed(student.device, samples)
      const { tape } = student.device
      student.device.tape = null // the teacher is frozen: nothing of it is recorded
      const teacherHidden = teacher.forward(batch)
      student.device.tape = tape
      return distillHead({
        hidden: student.forward(batch),
        weight: student.headWeight,
        teacher: { hidden: teacherHidden, weight: teacher.headWeight },
        labels,
        ...options,
        lambdaSft,
        lambdaKd,
        scale,
      })
    },
    total: (sums, valid): LossParts => ({
      loss: (lambdaSft * sums.ce! + lambdaKd * sums.kd!) / valid,
      ce: sums.ce! / valid,
      kd: sums.kd! / valid,
      teacherEntropy: sums.teacherEntropy! / valid,
      agreement: sums.agreement! / valid,
    }),
    flops: (samples) => 3 * forwardFlops(student, samples) + forwardFlops(teacher, samples),
  }
}

/** What a student learns from a file of a teacher's signal; the temperature is the file's. */
export type OfflineDistillationOptions = Omit<DistillationOptions, 'temperature' | 'vocabularyPolicy'>

/**
 * Distillation without the teacher: as `distillation`, with the divergence between the k most probable tokens of a file and the rest as one
 * bucket (docs/KD.md).
 * @param samples that the file was made from, in its order
 * @throws TeacherSignalError ERR_SIGNAL_MISMATCH when it was made from others
 */
export function offlineDistillation(
  student: Decoder,
  signal: TeacherSignal,
  samples: readonly Sample[],
  options: OfflineDistillationOptions,
): Objective {
  const { lambdaSft = 0.1, lambdaKd = 0.9, divergence, beta } = options
  const { topK: k, temperature, vocabulary } = signal.header
  const signalFor = signalOf(signal, samples)
  return {
    parts: ['ce', 'kd', 'teacherEntropy', 'valid'],
    loss(micro, scale) {
      const { device } = student
      const { batch, labels } = packed(device, micro)
      const { entropy, ...teacher } = joinedSignals(micro, signalFor)
      const hidden = student.forward(batch)
      const common = { hidden, weight: student.headWeight }
      const sft = linearCrossEntropy(hidden, student.headWeight, labels, { scale: lambdaSft * scale })
      const kd = topKDivergence({
        ...common,
        teacher: { k, ...teacher },
        divergence,
        ...(beta !== undefined && { beta }),
        temperature,
        vocabulary,
        scale: lambdaKd * scale,
      })
      const rest = device.tensor([entropy, teacher.tokens.length])
      return { loss: add(sft.loss, kd.loss), parts: concat(concat(columns(sft.parts, 0, 1), kd.sum), rest) }
    },
    total: (sums, valid): LossParts => ({
      loss: (lambdaSft * sums.ce! + lambdaKd * sums.kd!) / valid,
      ce: sums.ce! / valid,
      kd: sums.kd! / valid,
      teacherEntropy: sums.teacherEntropy! / valid,
    }),
    flops: (micro) => 3 * forwardFlops(student, micro),
  }
}

/** The signals of a micro-batch, one sample after the other, as its packed tokens are. @internal */
export function joinedSignals(micro: readonly Sample[], signalFor: (sample: Sample) => SampleSignal) {
  const signals = micro.map(signalFor)
  const tokens: number[] = []
  let at = 0
  for (const { ids, labels } of micro) {
    labels.forEach((y, i) => {
      if (y !== -100) tokens.push(at + i)
    })
    at += ids.length
  }
  return {
    tokens: Int32Array.from(tokens),
    ids: Int32Array.from(signals.flatMap((s) => Array.from(s.ids))),
    logProbabilities: Float32Array.from(signals.flatMap((s) => Array.from(s.logProbabilities))),
    entropy: signals.reduce((n, s) => n + s.entropy.reduce((a, b) => a + b, 0), 0),
  }
}

/**
 * Sequence classification by softmax cross entropy with the labels (LANTERN, equation 6), or by forward KL from the probabilities of samples
 * that carry them.
 * @param options.classWeights what the samples of each class count; the mean is over samples, not over weights
 */
export function classification(model: Model, options: { classWeights?: readonly number[] } = {}): Objective {
  const { device } = model
  const { classWeights } = options
  return {
    parts: ['ce', 'correct', 'valid'],
    loss(samples, scale) {
      const batch = pack(device, samples.flatMap(sequencesOf))
      const labels = classLabels(model, samples)
      const weights = classWeights ? device.tensor(Float32Array.from(classWeights)) : null
      const { loss, parts } = crossEntropy(model.classify(batch), labels, { scale, classWeights: weights })
      return { loss, parts }
    },
    total: (sums, valid) => ({ loss: sums.ce! / valid, accuracy: sums.correct! / valid }),
    flops: (samples) => (model.frozen ? 1 : 3) * forwardFlops(model, samples, false),
  }
}

/** int32 [samples], or probabilities [samples, classes] where a sample has them. */
function classLabels({ device, config }: Model, samples: readonly Sample[]): Tensor {
  if (!samples.some((s) => s.probabilities)) return device.tensor(Int32Array.from(samples, (s) => s.label!))
  const classes = config.numLabels!
  const rows = samples.flatMap(
    ({ label, probabilities }) => probabilities ?? Array.from({ length: classes }, (_, c) => Number(c === label)),
  )
  return device.tensor(Float32Array.from(rows), [samples.length, classes])
}

/** A micro-batch of explanations: its sequences one after the other, and their labels as int32 [tokens]. @internal */
export function packed(device: Device, samples: readonly Sample[]): { batch: Packed; labels: Tensor } {
  const batch = pack(
    device,
    samples.map((s) => s.ids),
  )
  const labels = new Int32Array(batch.tokens)
  let at = 0
  for (const s of samples) {
    labels.set(s.labels, at)
    at += s.ids.length
  }
  return { batch, labels: device.tensor(labels) }
}

/**
 * Multiply-adds times two of a forward pass: 2 per weight and token, causal attention's two products over half a square, and the head for
 * tokens with a label (all that the fused head computes). A backward pass costs twice as much.
 */
export function forwardFlops(model: Model, samples: readonly Sample[], head = true): number {
  const { layers, hiddenSize: h, heads, kvHeads, headDim, intermediateSize: f, vocabSize, causal } = model.config
  const perToken = 2 * layers * (h * headDim * (2 * heads + 2 * kvHeads) + 3 * h * f)
  let flops = 0
  for (const sample of samples) {
    const scored = head ? sample.labels.reduce((n, y) => n + (y === -100 ? 0 : 1), 0) : 0
    flops += scored * 2 * h * vocabSize
    for (const { length } of sequencesOf(sample))
      flops += length * perToken + layers * heads * headDim * 4 * length ** 2 * (causal ? 0.5 : 1)
  }
  return flops
}
