import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inspect } from 'node:util'
import type { Command } from 'commander'
import { z } from 'zod'
import { languageModelling } from '../distill/objectives.js'
import { writeFileAtomic } from '../files.js'
import { type CorpusDocument, corpusDocuments, listDocuments, tokenizerPhrases, tokenizerTexts } from '../fit/corpus.js'
import { type GeneratedPair, generatePairs } from '../fit/generate.js'
import type { DecoderConfig } from '../models/decoderConfig.js'
import { readFolderConfig } from '../models/folder.js'
import { createDecoder, loadDecoder } from '../models/registry.js'
import { preflight } from '../plan/preflight.js'
import type { Device } from '../tensor/device.js'
import { CHAT_SPECIAL_TOKENS, trainByteLevelBpe } from '../text/bpeTrainer.js'
import { encodeChatSample } from '../text/chat.js'
import { Tokenizer } from '../text/tokenizer.js'
import { tokenizerFiles, writeTokenizer } from '../text/writeTokenizer.js'
import { fitSamples, type Sample } from '../train/batches.js'
import { Optimiser } from '../train/optimiser.js'
import { runTraining } from '../train/run.js'
import { Trainer } from '../train/trainer.js'
import { checkSettings, defineCommand } from './command.js'
import { deviceSetting, withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { machineHere } from './machine.js'
import { measurePeak } from './peak.js'
import { printer } from './progress.js'
import { folder, runSettings, trainingSettings } from './settings.js'
import { both, exitCodeOf, requestOf, type TrainingContext } from './training.js'

const schema = z.object({
  out: folder('run folder: gets tokenizer/, model/, checkpoints/ and metrics.jsonl'),
  seed: z.int().default(1).describe('seed of corpus, weights and order'),
  pairs: z.int().min(1).default(6000).describe('generated pairs of post and profile that the corpus is made from'),
  epochs: z.int().min(1).default(2).describe('passes over the corpus'),
  batch: z.int().min(1).default(24).describe('documents an optimiser step'),
  microBatchTokens: z
    .int()
    .min(1)
    .default(16384)
    .describe('tokens computed at once; gradients are accumulated over a step'),
  maxLength: z.int().min(2).default(640).describe('tokens of the longest document; longer ones are cut'),
  recompute: trainingSettings.shape.recompute,
  learningRate: z.number().positive().max(1).default(1.5e-3).describe('highest learning rate'),
  vocab: z.int().min(1).default(4096).describe('size of the vocabulary'),
  hidden: z.int().min(1).default(256).describe('hidden size'),
  layers: z.int().min(1).default(6).describe('layers'),
  heads: z.int().min(1).default(4).describe('query heads'),
  kvHeads: z.int().min(1).default(2).describe('key and value heads'),
  intermediate: z.int().min(1).default(768).describe('size of the SwiGLU layer'),
  tokenizer: folder('take the tokenizer of this model folder instead of training one').optional(),
  corpus: z
    .enum(['lists', 'all'])
    .default('all')
    .describe('lists: only lists to repeat and to look things up in; all: the whole corpus'),
  from: folder('go on from this model, with its shape and tokenizer, instead of fresh weights').optional(),
  resume: z.boolean().default(false).describe('go on from the newest checkpoint'),
  anyway: runSettings.shape.anyway,
  device: deviceSetting,
})

/** Settings of `lantern pretrain`. */
export type PretrainSettings = z.input<typeof schema>

type Checked = z.output<typeof schema>

/** `lantern pretrain`: makes a small base model from nothing, as those in assets/ were made. */
export function pretrainCommand(program: Command): void {
  defineCommand(program, {
    name: 'pretrain',
    description: 'make a small base model from nothing: tokenizer, corpus, weights (as those in assets/ were made)',
    schema,
    run: (settings) => pretrain(settings, { print: console.log, signal: interruptible() }),
  })
}

/**
 * Makes a base model.
 * @returns the exit code
 * @throws LanternError for settings or models that do not fit, and for training that diverges
 */
export function pretrain(input: PretrainSettings, context: TrainingContext): Promise<number> {
  const settings = checkSettings('pretrain', schema, input)
  return withDevice(settings, context, (device) => run(device, settings, context))
}

async function run(device: Device, o: Checked, { print, signal, listener }: TrainingContext): Promise<number> {
  const started = Date.now()
  const tokenizerFolder = o.from ?? o.tokenizer
  const pairs = [...generatePairs({ seed: `pretrain/${o.seed}`, count: o.pairs })]
  const documents = pairs.flatMap(o.corpus === 'lists' ? listDocuments : corpusDocuments)
  print(`corpus: ${documents.length} documents from ${o.pairs} pairs`)
  const tokenizer = tokenizerFolder
    ? await Tokenizer.fromFolder(tokenizerFolder)
    : await trainTokenizer(join(o.out, 'tokenizer'), pairs, o.vocab)
  const { samples, truncated } = fitSamples(
    documents.map((d) => encodeDocument(tokenizer, d)),
    o.maxLength,
    'truncate',
  )
  const tokens = samples.reduce((n, s) => n + s.ids.length, 0)
  print(`${samples.length} samples, ${tokens} tokens, ${truncated} cut to ${o.maxLength}`)
  const held = samples.splice(0, Math.min(200, Math.floor(samples.length / 10)))

  const dtype = device.fastestDtype
  const config = o.from ? await readFolderConfig(o.from) : modelConfig(o, tokenizer)
  const batches = { batchSize: o.batch, microBatchTokens: o.microBatchTokens, recompute: o.recompute }
  const request = requestOf({ config, dtype, ...batches }, { train: samples, validation: held })
  print(await preflight(request, machineHere(device), o.anyway))
  const model = o.from
    ? await loadDecoder(device, o.from, { trainable: true, weights: dtype, activations: dtype })
    : createDecoder(device, config as DecoderConfig, { seed: o.seed, dtype })
  model.recompute = o.recompute
  const steps = Math.ceil(samples.length / o.batch) * o.epochs
  const optimiser = new Optimiser(model.parameters, { betas: [0.9, 0.98], weightDecay: 0.05 })
  const trainer = new Trainer(device, languageModelling(model), optimiser, samples, held, {
    seed: o.seed,
    batchSize: o.batch,
    microBatchTokens: o.microBatchTokens,
    steps,
    learningRate: o.learningRate,
    warmupSteps: Math.min(100, Math.ceil(steps / 20)),
    // Copying comes late and all at once, and a rate that has decayed by then delays it; the stage that follows decays.
    decay: o.corpus === 'lists' ? 'constant' : 'cosine',
    floor: 0.05,
    maxGradNorm: 1,
    evalEvery: 200,
    patience: 0,
    checkpointEvery: 200,
  })
  const lines = printer(await measurePeak(device, model.dtype), 10, print)
  const end = await runTraining(trainer, model, {
    out: o.out,
    tokenizerFrom: tokenizerFolder ?? join(o.out, 'tokenizer'),
    resume: o.resume,
    signal,
    listener: both(lines, listener),
  })
  if (end === 'interrupted') {
    print('interrupted; go on with --resume')
    return exitCodeOf({ end })
  }
  const { loss } = await trainer.evaluate(held)
  const provenance = {
    command: `lantern pretrain ${process.argv.slice(3).join(' ')}`,
    seed: o.seed,
    steps: trainer.state.step,
    tokens: tokens * o.epochs,
    precision: dtype,
    parameters: [...model.parameters.values()].reduce((n, t) => n + t.size, 0),
    validationLoss: Number(loss!.toFixed(4)),
    minutes: Math.round((Date.now() - started) / 60_000),
    device: device.name,
    ...(o.from && { from: await provenanceOf(o.from) }),
  }
  await writeFileAtomic(join(o.out, 'model', 'made-with.json'), `${JSON.stringify(provenance, null, 2)}\n`)
  print(`${end} ${inspect(provenance)}`)
  return exitCodeOf({ end })
}

/** How the model that this one went on from was made. */
async function provenanceOf(folder: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(join(folder, 'made-with.json'), 'utf8'))
  } catch {
    return folder // a model from elsewhere
  }
}

/** A tokenizer of all that pairs are made of, whatever part of it this stage learns from: a later stage cannot change it. */
async function trainTokenizer(folder: string, pairs: readonly GeneratedPair[], vocabSize: number): Promise<Tokenizer> {
  const texts = pairs.flatMap(tokenizerTexts)
  const files = tokenizerFiles(
    trainByteLevelBpe({
      texts,
      vocabSize,
      phrases: tokenizerPhrases,
      specialTokens: CHAT_SPECIAL_TOKENS,
      normalizer: 'NFC',
    }),
  )
  await writeTokenizer(folder, files)
  return Tokenizer.fromFolder(folder)
}

function encodeDocument(tokenizer: Tokenizer, document: CorpusDocument): Sample {
  if ('user' in document)
    return encodeChatSample(tokenizer, [
      { role: 'user', content: document.user },
      { role: 'assistant', content: document.assistant },
    ])
  const ids = tokenizer.encode(document.text)
  const labels = new Int32Array(ids.length).fill(-100)
  labels.set(ids.subarray(1))
  return { ids, labels }
}

function modelConfig(o: Checked, tokenizer: Tokenizer): DecoderConfig {
  return {
    modelType: 'qwen2',
    hiddenSize: o.hidden,
    layers: o.layers,
    heads: o.heads,
    kvHeads: o.kvHeads,
    headDim: o.hidden / o.heads,
    intermediateSize: o.intermediate,
    vocabSize: o.vocab,
    ropeTheta: 10_000,
    rmsNormEps: 1e-6,
    tieWordEmbeddings: true,
    slidingWindow: null,
    maxPositionEmbeddings: 2048,
    causal: true,
    attentionBias: true,
    eosTokenId: tokenizer.eosTokenId ?? null,
    bosTokenId: null,
    padTokenId: tokenizer.padTokenId ?? null,
    dtype: 'bfloat16',
  }
}
