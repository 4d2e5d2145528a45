// ONNX Runtime through onnxruntime-node: classification by an exported ModernBERT, one input after the other: padded to the longest they
// take longer.
import { file, load, randomIds, serve, threads } from './peer.mjs'

const { InferenceSession, Tensor } = (await load('onnxruntime-node')).default
const session = await InferenceSession.create(file, {
  executionProviders: ['cpu'],
  graphOptimizationLevel: 'all',
  intraOpNumThreads: threads,
})

/** What the model takes: ids and mask [1, length]. */
function input(length, vocabSize) {
  const tensor = (values) => new Tensor('int64', BigInt64Array.from(values, BigInt), [1, length])
  return { input_ids: tensor(randomIds(length, vocabSize)), attention_mask: tensor(new Array(length).fill(1)) }
}

async function make({ model: { lengths, vocabSize } }) {
  const inputs = lengths.map((length) => input(length, vocabSize))
  return async () => {
    for (const each of inputs) await (await session.run(each)).logits.getData()
  }
}

await serve(
  make,
  'ONNX Runtime: onnxruntime-node, all graph optimisations, float32 (it has no bfloat16 for processors)',
)
