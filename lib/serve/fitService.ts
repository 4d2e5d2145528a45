import { classifierPrompt, explanationPrompt, LEVELS, levelColumns } from '../distill/samples.js'
import { ArgumentError, ConfigError } from '../errors.js'
import { type JobPost, parseJob } from '../fit/job.js'
import { type Profile, parseProfile } from '../fit/profile.js'
import { type FitPrompt, fitPrompt } from '../fit/prompt.js'
import type { FitLevel } from '../fit/rubric.js'
import { Engine, type EngineOptions, type EngineStep } from '../generate/engine.js'
import { eosTokenIds } from '../models/config.js'
import type { Decoder } from '../models/decoder.js'
import type { Model } from '../models/model.js'
import { type LoadOptions, loadDecoder, loadModel } from '../models/registry.js'
import type { Device } from '../tensor/device.js'
import type { FloatDType } from '../tensor/tensor.js'
import { ChatTemplate } from '../text/chatTemplate.js'
import { Tokenizer } from '../text/tokenizer.js'
import { Classifier, type ClassifierOptions } from './classifier.js'

/** What a fit service is made of. */
export interface FitServiceOptions
  extends Omit<EngineOptions, 'vocabularyLimit' | 'onStep'>,
    Omit<ClassifierOptions, 'onBatch'> {
  device: Device
  /** Folder, or name once pulled, of the model that writes explanations: a causal language model with a chat template. */
  explainer: string
  /** Folder, or name once pulled, of the model that rates: a sequence classifier with the labels low, medium and high, in any order. */
  classifier: string
  /** Storage of the activations of both models, and of the KV cache; default float32. */
  activations?: FloatDType
  /** Ratings whose largest probability is below are `abstain`; default 0, none. */
  abstain?: number
}

/** How well a profile fits a job. */
export interface FitRating {
  /** The most likely level, or that the classifier is not sure enough of any. */
  level: FitLevel | 'abstain'
  /** Calibrated, if the classifier was. They add up to 1. */
  probabilities: Record<FitLevel, number>
}

/** A rating with what was read from the post, and the prompt that the models were given. */
export interface FitResult extends FitRating {
  job: JobPost
  profile: Profile
  prompt: FitPrompt
}

/** What to watch while an explanation is written. */
export interface ExplainOptions {
  signal?: AbortSignal
  /** Default 256. */
  maxTokens?: number
}

/** How an explanation ended: the value that its generator returns. */
export interface ExplainUsage {
  promptTokens: number
  completionTokens: number
  /** `stop`: the model ended its turn; `length`: maxTokens were reached. */
  finishReason: 'stop' | 'length'
}

/** One forward pass of a model, for metrics. */
export interface ServiceStep {
  model: 'classifier' | 'explainer'
  phase: 'classify' | 'prefill' | 'decode'
  sequences: number
  tokens: number
}

/** A model with the tokenizer that it was checked against. */
interface Loaded<M extends Model> {
  model: M
  tokenizer: Tokenizer
}

/**
 * Rates and explains fits for many callers at once, with a classifier and an explainer that share a device. Calls are batched; an aborted
 * one leaves its batch.
 *
 *     const service = await FitService.open({ device, explainer: 'runs/student', classifier: 'runs/classifier' })
 *     const { level, prompt } = await service.fit(jobPosting, resume)
 *     for await (const piece of service.explain(prompt)) process.stdout.write(piece)
 *     await service.close()
 */
export class FitService {
  readonly device: Device
  readonly #explainer: Loaded<Decoder>
  readonly #rater: Loaded<Model>
  readonly #engine: Engine
  readonly #classifier: Classifier
  /** The column of every level among the classifier's logits, in the order of LEVELS. */
  readonly #columns: readonly number[]
  readonly #abstain: number
  readonly #stop: readonly number[]
  readonly #listeners = new Set<(step: ServiceStep) => void>()

  private constructor(
    options: FitServiceOptions,
    explainer: Loaded<Decoder>,
    rater: Loaded<Model>,
    columns: readonly number[],
  ) {
    this.device = options.device
    this.#explainer = explainer
    this.#rater = rater
    this.#columns = columns
    this.#abstain = options.abstain ?? 0
    const { tokenizer, model } = explainer
    const stop = eosTokenIds(model.config)
    this.#stop = stop.length > 0 ? stop : [tokenizer.eosTokenId ?? []].flat()
    const { cacheTokens, maxSequences, maxPrefillTokens, maxBatchTokens, batchWindow, cachedJobs } = options
    this.#engine = new Engine(model, {
      ...defined({ cacheTokens, maxSequences, maxPrefillTokens }),
      vocabularyLimit: tokenizer.vocabSize,
      onStep: (step) => this.#tell(stepOf(step)),
    })
    this.#classifier = new Classifier(rater.model, {
      ...defined({ maxBatchTokens, batchWindow, cachedJobs }),
      onBatch: (batch) => this.#tell({ model: 'classifier', phase: 'classify', ...batch }),
    })
  }

  /**
   * Loads both models, mapped. The caller keeps the device and closes it after the service.
   * @throws ArgumentError for a threshold that is no probability; ConfigError, CheckpointError, TokenizerError, ChatTemplateError: what is missing, or does not fit its model or its task
   */
  static async open(options: FitServiceOptions): Promise<FitService> {
    const { abstain = 0 } = options
    if (!(abstain >= 0 && abstain <= 1))
      throw new ArgumentError(`abstain is ${abstain}; give a probability from 0 to 1`)
    const explainer = await load(options, options.explainer, loadDecoder)
    try {
      ChatTemplate.require(explainer.tokenizer.chatTemplate)
      if (explainer.model.config.numLabels !== undefined)
        throw wrongModel(options.explainer, 'is a classifier', 'name a causal language model as explainer')
      const rater = await load(options, options.classifier, loadModel)
      try {
        return new FitService(options, explainer, rater, columnsOf(options.classifier, rater.model))
      } catch (error) {
        rater.model.dispose()
        throw error
      }
    } catch (error) {
      explainer.model.dispose()
      throw error
    }
  }

  /** Calls waiting and running in each model, and the tokens of the KV cache. */
  get load() {
    return { classifier: this.#classifier.load, explainer: this.#engine.load, cache: this.#engine.cache }
  }

  /** Calls `listener` after every forward pass. @returns a function that ends it */
  onStep(listener: (step: ServiceStep) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * The prompt of a pair.
   * @param jobInput whatever parseJob reads: JSON-LD, our own JSON, text
   * @param profileInput whatever parseProfile reads: JSON Resume, our own JSON, text
   * @throws InputError
   */
  read(jobInput: unknown, profileInput: unknown): { job: JobPost; profile: Profile; prompt: FitPrompt } {
    const job = parseJob(jobInput)
    const profile = parseProfile(profileInput)
    return { job, profile, prompt: fitPrompt(job, profile) }
  }

  /**
   * Rates a prompt.
   * @throws LanternError ERR_PROMPT when it is too long for the classifier, ERR_CLOSED; the signal's reason
   */
  async rate(prompt: FitPrompt, signal?: AbortSignal): Promise<FitRating> {
    const { model, tokenizer } = this.#rater
    const p = await this.#classifier.classify(classifierPrompt(tokenizer, model.config, prompt), signal)
    const of = (level: FitLevel) => p[this.#columns[LEVELS.indexOf(level)]!]!
    const probabilities = { low: of('low'), medium: of('medium'), high: of('high') }
    const likeliest = LEVELS.reduce((best, l) => (of(l) > of(best) ? l : best))
    return { level: of(likeliest) < this.#abstain ? 'abstain' : likeliest, probabilities }
  }

  /**
   * Explains a prompt's fit, in pieces of text as they are generated (greedily). Leaving the loop or aborting the signal ends it.
   * @throws LanternError, at once: ERR_PROMPT when prompt and maxTokens do not fit the model or its cache, ERR_CLOSED. While iterating: the
   *   signal's reason, ERR_CLOSED, or what failed on the device
   */
  explain(prompt: FitPrompt, options: ExplainOptions = {}): AsyncGenerator<string, ExplainUsage> {
    const { signal, maxTokens = 256 } = options
    const { tokenizer } = this.#explainer
    const ids = explanationPrompt(tokenizer, prompt)
    const tokens = this.#engine.generate(ids, { maxTokens, stop: this.#stop, signal })
    return pieces(tokens, tokenizer, ids.length, maxTokens)
  }

  /**
   * Reads a job post and a profile and rates their fit.
   * @throws InputError; as `rate`
   */
  async fit(jobInput: unknown, profileInput: unknown, signal?: AbortSignal): Promise<FitResult> {
    const read = this.read(jobInput, profileInput)
    return { ...(await this.rate(read.prompt, signal)), ...read }
  }

  /** Ends what is running with ERR_CLOSED and gives the models' memory back. */
  async close(): Promise<void> {
    this.#engine.dispose()
    await this.#classifier.close()
    for (const { model } of [this.#explainer, this.#rater]) model.dispose()
  }

  #tell(step: ServiceStep): void {
    for (const listener of this.#listeners) listener(step)
  }
}

async function* pieces(
  tokens: AsyncGenerator<{ id: number }>,
  tokenizer: Tokenizer,
  promptTokens: number,
  maxTokens: number,
): AsyncGenerator<string, ExplainUsage> {
  const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true })
  let completionTokens = 0
  for await (const { id } of tokens) {
    completionTokens++
    const piece = decoder.push(id)
    if (piece) yield piece
  }
  const rest = decoder.flush()
  if (rest) yield rest
  return { promptTokens, completionTokens, finishReason: completionTokens < maxTokens ? 'stop' : 'length' }
}

async function load<M extends Model>(
  { device, activations }: FitServiceOptions,
  folder: string,
  loadAs: (device: Device, path: string, options: LoadOptions) => Promise<M>,
): Promise<Loaded<M>> {
  const tokenizer = await Tokenizer.fromFolder(folder)
  const model = await loadAs(device, folder, { activations })
  try {
    tokenizer.checkMatches(model.config.vocabSize)
  } catch (error) {
    model.dispose()
    throw error
  }
  return { model, tokenizer }
}

function columnsOf(folder: string, { config }: Model): number[] {
  const columns = levelColumns(config)
  if (columns) return columns
  const found =
    config.numLabels === undefined ? 'is no classifier' : `has the labels ${(config.id2label ?? []).join(', ')}`
  throw wrongModel(folder, found, `name a sequence classifier with the labels ${LEVELS.join(', ')}`)
}

function wrongModel(folder: string, found: string, next: string): ConfigError {
  const message = `the model ${found}; ${next}`
  return new ConfigError('ERR_MODEL_TASK', `${folder}: ${message}`, folder, [{ path: '', message }])
}

const stepOf = ({ prefill, sequences, tokens }: EngineStep): ServiceStep => ({
  model: 'explainer',
  phase: prefill ? 'prefill' : 'decode',
  sequences,
  tokens,
})

/** Without the keys that are undefined, so that they do not hide defaults. */
const defined = <T extends object>(options: T): T =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
