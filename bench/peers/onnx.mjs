// ONNX Runtime through onnxruntime-node: classification by an exported ModernBERT, the inputs padded to the longest.
import { file, load, randomIds, serve, threads } from './peer.mjs'

const { InferenceSession, Tensor } = (await load('onnxruntime-node')).default
const session = await InferenceSession.create(file, {
  executionProviders: ['cpu'],
  graphOptimizationLevel: 'all',
  intraOpNumThreads: threads,
})

/** What the model takes: ids and mask, [inputs, longest]. */
function padded(lengths, vocabSize) {
  const longest = Math.max(...lengths)
  const ids = new BigInt64Array(lengths.length * longest)
  const mask = new BigInt64Array(ids.length)
  for (const [row, length] of lengths.entries()) {
    ids.set(randomIds(length, vocabSize).map(BigInt), row * longest)
    mask.fill(1n, row * longest, row * longest + length)
  }
  const tensor = (values) => new Tensor('int64', values, [lengths.length, longest])
  return { input_ids: tensor(ids), attention_mask: tensor(mask) }
}

async function make({ model: { lengths, vocabSize } }) {
  const inputs = padded(lengths, vocabSize)
  return async () => {
    const { logits } = await session.run(inputs)
    await logits.getData()
  }
}

await serve(
  make,
  'ONNX Runtime: onnxruntime-node, all graph optimisations, float32 (it has no bfloat16 for processors)',
)
