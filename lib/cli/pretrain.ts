import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Command, Option } from 'commander'
import { languageModelling } from '../distill/objectives.js'
import { writeFileAtomic } from '../files.js'
import { type CorpusDocument, corpusDocuments, listDocuments, tokenizerPhrases, tokenizerTexts } from '../fit/corpus.js'
import { type GeneratedPair, generatePairs } from '../fit/generate.js'
import type { DecoderConfig } from '../models/config.js'
import { createModel, loadModel } from '../models/registry.js'
import { Device } from '../tensor/device.js'
import { CHAT_SPECIAL_TOKENS, trainByteLevelBpe } from '../text/bpeTrainer.js'
import { encodeChatSample } from '../text/chat.js'
import { Tokenizer } from '../text/tokenizer.js'
import { tokenizerFiles, writeTokenizer } from '../text/writeTokenizer.js'
import { fitSamples, type Sample } from '../train/batches.js'
import { Optimiser } from '../train/optimiser.js'
import { runTraining } from '../train/run.js'
import { Trainer } from '../train/trainer.js'
import { interruptible } from './interrupt.js'
import { measurePeak } from './peak.js'
import { printer } from './progress.js'

interface PretrainOptions {
  out: string
  seed: number
  pairs: number
  epochs: number
  batch: number
  learningRate: number
  vocab: number
  hidden: number
  layers: number
  heads: number
  kvHeads: number
  intermediate: number
  tokenizer?: string
  from?: string
  corpus: 'lists' | 'all'
  resume: boolean
}

const number = (text: string) => Number(text)

/** `lantern pretrain`: makes a small base model from nothing, as those in assets/ were made. */
export function pretrainCommand(program: Command): void {
  program
    .command('pretrain')
    .description('make a small base model from nothing: tokenizer, corpus, weights (as those in assets/ were made)')
    .requiredOption('--out <folder>', 'run folder; the model lands in <folder>/model')
    .option('--seed <n>', 'seed of corpus, weights and order', number, 1)
    .option('--pairs <n>', 'generated pairs of post and profile that the corpus is made from', number, 6000)
    .option('--epochs <n>', 'passes over the corpus', number, 2)
    .option('--batch <n>', 'documents an optimiser step', number, 24)
    .option('--learning-rate <x>', 'highest learning rate', number, 1.5e-3)
    .option('--vocab <n>', 'size of the vocabulary', number, 4096)
    .option('--hidden <n>', 'hidden size', number, 256)
    .option('--layers <n>', 'layers', number, 6)
    .option('--heads <n>', 'query heads', number, 4)
    .option('--kv-heads <n>', 'key and value heads', number, 2)
    .option('--intermediate <n>', 'size of the SwiGLU layer', number, 768)
    .option('--tokenizer <folder>', 'take the tokenizer of this model folder instead of training one')
    .addOption(
      new Option('--corpus <kind>', 'lists: only lists to repeat and to look things up in; all: the whole corpus')
        .choices(['lists', 'all'])
        .default('all'),
    )
    .option('--from <folder>', 'go on from this model, with its shape and tokenizer, instead of fresh weights')
    .option('--resume', 'go on from the newest checkpoint', false)
    .action(pretrain)
}

async function pretrain(o: PretrainOptions): Promise<void> {
  const started = Date.now()
  const tokenizerFolder = o.from ?? o.tokenizer
  const signal = interruptible()
  const device = Device.open()
  const pairs = [...generatePairs({ seed: `pretrain/${o.seed}`, count: o.pairs })]
  const documents = pairs.flatMap(o.corpus === 'lists' ? listDocuments : corpusDocuments)
  console.log(`corpus: ${documents.length} documents from ${o.pairs} pairs`)
  const tokenizer = tokenizerFolder
    ? await Tokenizer.fromFolder(tokenizerFolder)
    : await trainTokenizer(join(o.out, 'tokenizer'), pairs, o.vocab)
  const { samples, truncated } = fitSamples(
    documents.map((d) => encodeDocument(tokenizer, d)),
    640,
    'truncate',
  )
  const tokens = samples.reduce((n, s) => n + s.ids.length, 0)
  console.log(`${samples.length} samples, ${tokens} tokens, ${truncated} cut to 640`)
  const held = samples.splice(0, Math.min(200, Math.floor(samples.length / 10)))

  const dtype = device.fastestDtype
  const model = o.from
    ? await loadModel(device, o.from, { trainable: true, weights: dtype, activations: dtype })
    : createModel(device, modelConfig(o, tokenizer), { seed: o.seed, dtype })
  const steps = Math.ceil(samples.length / o.batch) * o.epochs
  const optimiser = new Optimiser(model.parameters, { betas: [0.9, 0.98], weightDecay: 0.05 })
  const trainer = new Trainer(device, languageModelling(model), optimiser, samples, held, {
    seed: o.seed,
    batchSize: o.batch,
    microBatchTokens: 16384,
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
  const listener = printer(await measurePeak(device, model.dtype), 10)
  const end = await runTraining(trainer, model, {
    out: o.out,
    tokenizerFrom: tokenizerFolder ?? join(o.out, 'tokenizer'),
    resume: o.resume,
    signal,
    listener,
  })
  if (end === 'interrupted') {
    console.log('interrupted; go on with --resume')
    return device.close()
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
  console.log(end, provenance)
  await device.close()
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

function modelConfig(o: PretrainOptions, tokenizer: Tokenizer): DecoderConfig {
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
