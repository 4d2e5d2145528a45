import type { Command } from 'commander'
import { z } from 'zod'
import { languageModelling } from '../distill/objectives.js'
import { explanationPrompt, explanationSample, LEVELS } from '../distill/samples.js'
import { ArgumentError } from '../errors.js'
import { bootstrapClassification, type MeanInterval } from '../eval/bootstrap.js'
import { argmax, expectedCalibrationError, softmax } from '../eval/calibration.js'
import { type ClassificationScores, classificationScores } from '../eval/classification.js'
import { NllAccumulator } from '../eval/nll.js'
import { type CorpusRougeScore, corpusRouge, type RougeKind } from '../eval/rouge.js'
import { selectiveScores } from '../eval/selective.js'
import { writeFileAtomic } from '../files.js'
import { type PairSample, readPairs } from '../fit/dataset.js'
import { type ExplanationScore, scoreExplanation } from '../fit/explain.js'
import { Engine } from '../generate/engine.js'
import type { Decoder } from '../models/decoder.js'
import type { Device } from '../tensor/device.js'
import type { Tokenizer } from '../text/tokenizer.js'
import { fitSamples, microBatches, type Sample, weightOf } from '../train/batches.js'
import { checkSettings, defineCommand } from './command.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { interruptible, unlessInterrupted } from './interrupt.js'
import { levelLogits } from './levelLogits.js'
import { openModel } from './models.js'
import { classificationLines, explainerLines } from './scores.js'
import { abstainSetting, file, folder } from './settings.js'

const schema = z.object({
  model: folder('explainer to score').optional(),
  classifier: folder('classifier to score').optional(),
  data: file('dataset, such as data/test.jsonl'),
  limit: z.int().min(1).optional().describe('samples, from the first (default: all)'),
  maxTokens: z.int().min(1).default(320).describe('most tokens of an explanation'),
  batchSize: z.int().min(1).default(32).describe('explanations generated together'),
  microBatchTokens: z.int().min(1).default(8192).describe('tokens computed at once for the loss'),
  abstain: abstainSetting,
  seed: z.int().default(0).describe('seed of the bootstrap intervals'),
  json: file('write all scores and generated texts there').optional(),
  device: deviceSetting,
})

/** Settings of `lantern eval`. */
export type EvalSettings = z.input<typeof schema>

/** Scores of an explainer. */
export interface ExplainerScores {
  samples: number
  /** Samples longer than the model's positions. */
  leftOut: number
  /** Corpus negative log-likelihood of the reference explanations, nats a token, and its exponential. */
  loss: number
  perplexity: number
  /** Labelled tokens that the loss is a mean of. */
  tokens: number
  /** Of greedy generations against the references. */
  rouge: Record<RougeKind, CorpusRougeScore>
  /** Means over the samples; `levelRight` is the share of right levels. */
  explanation: Record<keyof ExplanationScore, number>
  /** Generated tokens a second, prompts included in the time. */
  tokensPerSecond: number
  generated: { id: string; reference: string; text: string }[]
}

/** Scores of a classifier, whose confusion counts the most likely levels, abstained or not. */
export interface ClassifierScores extends ClassificationScores {
  /** 95 % bootstrap intervals. */
  intervals: Record<'accuracy' | 'weightedF1', MeanInterval>
  /** What the logits are divided by, as the model's folder says. */
  temperature: number
  /** Expected calibration error with that temperature, and without. */
  ece: { calibrated: number; raw: number }
  /** Of the pairs whose largest probability reaches the threshold: their share, and the accuracy on them (null: there are none). */
  kept: { threshold: number; coverage: number; accuracy: number | null }
}

/** Scores of what was asked for. */
export interface EvalResult {
  explainer?: ExplainerScores
  classifier?: ClassifierScores
}

/** `lantern eval`: scores on held-out pairs. */
export function evalCommand(program: Command): void {
  defineCommand(program, {
    name: 'eval',
    description:
      'score an explainer (loss, ROUGE, correctness of its explanations) and a classifier (accuracy, F1) on held-out pairs',
    schema,
    examples:
      'Example: lantern eval --model runs/js/model --classifier runs/classifier/model --data data/test.jsonl --limit 100',
    run: async (settings) => {
      const signal = interruptible('leaving')
      return (await unlessInterrupted(signal, () => evaluate(settings, { print: console.log, signal }))) ? 0 : 130
    },
  })
}

/**
 * Scores an explainer, a classifier or both.
 * @throws LanternError for settings, data or models that do not fit; the signal's reason when it aborts
 */
export async function evaluate(input: EvalSettings, context: CommandContext): Promise<EvalResult> {
  const settings = checkSettings('eval', schema, input)
  if (!settings.model && !settings.classifier)
    throw new ArgumentError('eval: there is nothing to score; give --model FOLDER, --classifier FOLDER or both')
  return withDevice(settings, context, async (device) => {
    const pairs = await readPairs(settings.data, settings.limit)
    const result: EvalResult = {}
    if (settings.model) {
      result.explainer = await scoreExplainer(device, settings.model, pairs, settings, context)
      for (const line of explainerLines(result.explainer)) context.print(line)
    }
    if (settings.classifier) {
      result.classifier = await scoreClassifier(device, settings.classifier, pairs, settings, context.signal)
      for (const line of classificationLines(result.classifier, LEVELS)) context.print(line)
    }
    if (settings.json) await writeFileAtomic(settings.json, `${JSON.stringify({ settings, ...result }, null, 2)}\n`)
    return result
  })
}

type ExplainerSettings = Pick<z.output<typeof schema>, 'maxTokens' | 'batchSize' | 'microBatchTokens' | 'seed'>

async function scoreExplainer(
  device: Device,
  path: string,
  pairs: readonly PairSample[],
  settings: ExplainerSettings,
  { print, signal }: CommandContext,
): Promise<ExplainerScores> {
  using opened = await openModel(device, path, 'decode')
  const { model, tokenizer } = opened
  const room = model.config.maxPositionEmbeddings
  const encoded = pairs.map(({ prompt, explanation }) => explanationSample(tokenizer, prompt, explanation))
  const fitting = pairs.filter((_, i) => encoded[i]!.ids.length <= room)
  const { samples } = fitSamples(encoded, room, 'skip')
  const { nll, perplexity, tokens } = await corpusLoss(model, samples, settings.microBatchTokens, signal)
  const { texts, tokensPerSecond } = await generateAll(model, tokenizer, fitting, settings, { print, signal })
  const references = fitting.map((pair) => pair.explanation)
  const each = texts.map((text, i) => scoreExplanation(text, references[i]!))
  const mean = (score: (one: ExplanationScore) => number) => each.reduce((n, one) => n + score(one), 0) / each.length
  return {
    samples: fitting.length,
    leftOut: pairs.length - fitting.length,
    loss: nll,
    perplexity,
    tokens,
    rouge: corpusRouge(references, texts, { seed: settings.seed }).scores,
    explanation: {
      statusAccuracy: mean((one) => one.statusAccuracy),
      coverage: mean((one) => one.coverage),
      evidenceAccuracy: mean((one) => one.evidenceAccuracy),
      levelRight: mean((one) => Number(one.levelRight)),
    },
    tokensPerSecond,
    generated: fitting.map(({ id, explanation }, i) => ({ id, reference: explanation, text: texts[i]! })),
  }
}

async function corpusLoss(
  model: Decoder,
  samples: readonly Sample[],
  microBatchTokens: number,
  signal?: AbortSignal,
): Promise<NllAccumulator> {
  const objective = languageModelling(model)
  const nll = new NllAccumulator()
  for (const micro of microBatches(samples, microBatchTokens)) {
    signal?.throwIfAborted()
    using _scope = model.device.scope()
    const parts = await objective.loss(micro, 1).parts.floats()
    nll.add(
      parts[objective.parts.indexOf('ce')]!,
      micro.reduce((n, sample) => n + weightOf(sample), 0),
    )
  }
  return nll
}

/** Greedy explanations of all pairs through one engine, which batches them. */
async function generateAll(
  model: Decoder,
  tokenizer: Tokenizer,
  pairs: readonly PairSample[],
  { maxTokens, batchSize }: ExplainerSettings,
  { print, signal }: CommandContext,
): Promise<{ texts: string[]; tokensPerSecond: number }> {
  const prompts = pairs.map((pair) => explanationPrompt(tokenizer, pair.prompt))
  const longest = prompts.reduce((n, ids) => Math.max(n, ids.length), 0)
  const room = model.config.maxPositionEmbeddings
  const cacheTokens = batchSize * Math.min(longest + maxTokens, room)
  using engine = new Engine(model, { cacheTokens, maxSequences: batchSize, vocabularyLimit: tokenizer.vocabSize })
  const started = performance.now()
  let tokens = 0
  let done = 0
  const texts = await Promise.all(
    prompts.map(async (prompt) => {
      const ids: number[] = []
      const options = { maxTokens: Math.min(maxTokens, room - prompt.length), signal }
      for await (const { id } of engine.generate(prompt, options)) ids.push(id)
      tokens += ids.length
      if (++done % batchSize === 0 && done < prompts.length) print(`explained ${done} of ${prompts.length} pairs`)
      return tokenizer.decode(ids, { skipSpecialTokens: true })
    }),
  )
  return { texts, tokensPerSecond: tokens / ((performance.now() - started) / 1000) }
}

async function scoreClassifier(
  device: Device,
  path: string,
  pairs: readonly PairSample[],
  { microBatchTokens, abstain, seed }: Pick<z.output<typeof schema>, 'microBatchTokens' | 'abstain' | 'seed'>,
  signal?: AbortSignal,
): Promise<ClassifierScores> {
  using opened = await openModel(device, path, 'classify')
  const { classifierTemperature: temperature = 1 } = opened.model.config
  const logits = await levelLogits(opened, pairs, { path, microBatchTokens, signal })
  const labels = pairs.map(({ level }) => LEVELS.indexOf(level))
  const probabilities = logits.map((row) => softmax(row, temperature))
  const raw = logits.map((row) => softmax(row))
  const predictions = logits.map(argmax)
  const interval = (score: 'accuracy' | 'weightedF1') =>
    bootstrapClassification(labels, predictions, LEVELS.length, score, { seed })
  return {
    ...classificationScores(labels, predictions, LEVELS.length),
    intervals: { accuracy: interval('accuracy'), weightedF1: interval('weightedF1') },
    temperature,
    ece: {
      calibrated: expectedCalibrationError(probabilities, labels),
      raw: expectedCalibrationError(raw, labels),
    },
    kept: { threshold: abstain, ...selectiveScores(probabilities, labels, abstain) },
  }
}
