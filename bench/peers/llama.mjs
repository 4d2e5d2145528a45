// llama.cpp through node-llama-cpp: prefill, and greedy decoding after it. The sequences are asked for their next tokens all at once, so that
// a batch always holds all of them; asked each on its own they fall into two batches a token.
import { file, load, randomIds, serve, threads } from './peer.mjs'

const { getLlama, LlamaLogLevel } = await load('node-llama-cpp')
const llama = await getLlama({
  gpu: false,
  build: 'never',
  maxThreads: threads,
  logLevel: LlamaLogLevel.error,
  logger: (_level, message) => console.error(message), // standard output is for answers
})
const model = await llama.loadModel({ modelPath: file, useMmap: false }) // read into memory it is faster than mapped
const instructions = llama.systemInfo.match(/\w+(?= = 1)/g) ?? []

/** Greedy, and going on after an end token. */
const GREEDY = { temperature: 0, yieldEogToken: true }

/** So many tokens of every sequence, from inputs of each. */
async function generate(sequences, inputs, tokens) {
  const runs = sequences.map((sequence, i) => sequence.evaluate(inputs[i], GREEDY))
  for (let n = 0; n < tokens; n++) await Promise.all(runs.map((run) => run.next()))
  await Promise.all(runs.map((run) => run.return()))
}

let context = null

async function make({ model: { vocabSize }, mode, batch, prompt, tokens }) {
  await context?.dispose()
  context = await model.createContext({
    sequences: batch,
    contextSize: prompt + tokens + 1,
    batchSize: batch * prompt,
    threads: { ideal: threads, min: threads },
    flashAttention: true,
  })
  const sequences = Array.from({ length: batch }, () => context.getSequence())
  const prompts = sequences.map(() => randomIds(prompt, vocabSize))
  if (mode === 'prefill')
    return async () => {
      for (const sequence of sequences) await sequence.clearHistory()
      await generate(sequences, prompts, 1)
    }
  for (const [i, sequence] of sequences.entries()) await sequence.evaluateWithoutGeneratingNewTokens(prompts[i])
  const last = prompts.map((ids) => ids.slice(-1))
  return async () => {
    for (const sequence of sequences)
      await sequence.eraseContextTokenRanges([{ start: prompt, end: sequence.nextTokenIndex }])
    await generate(sequences, last, tokens)
  }
}

await serve(
  make,
  `llama.cpp ${llama.llamaCppRelease.release}, ${llama.buildType} by node-llama-cpp, using ${instructions.join(', ')}; ` +
    'weights read into memory, flash attention, float16 KV cache, all prompts in one batch, the sequences decoded in step',
)
