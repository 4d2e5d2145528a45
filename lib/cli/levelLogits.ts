import { classifierPrompt, LEVELS, levelColumns } from '../distill/samples.js'
import { ArgumentError, LanternError } from '../errors.js'
import type { PairSample } from '../fit/dataset.js'
import type { Model } from '../models/model.js'
import { pack } from '../models/packed.js'
import { joined, microBatches, type Sample, sequencesOf } from '../train/batches.js'
import type { Opened } from './models.js'

/** How to rate many pairs. */
interface LevelLogitsOptions {
  /** Folder of the classifier, for messages. */
  path: string
  /** Tokens computed at once. */
  microBatchTokens: number
  /** Tokens that longer texts are cut to; default: one that is longer than the model's positions is refused. */
  maxLength?: number
  signal?: AbortSignal
}

/**
 * What a classifier makes of pairs: the logits of each, in the order of LEVELS.
 * @throws ArgumentError when its labels are not those of a fit; LanternError ERR_PROMPT for a pair longer than its positions; the signal's
 *   reason when it aborts
 */
export async function levelLogits(
  { model, tokenizer }: Opened<Model>,
  pairs: readonly Pick<PairSample, 'id' | 'prompt'>[],
  { path, microBatchTokens, maxLength = Number.POSITIVE_INFINITY, signal }: LevelLogitsOptions,
): Promise<Float32Array[]> {
  const order = levelColumns(model.config)
  if (!order)
    throw new ArgumentError(
      `${path} has the labels ${(model.config.id2label ?? []).join(', ')}, a fit is ${LEVELS.join(', ')}; give a model that lantern classify-train made`,
    )
  const room = model.config.maxPositionEmbeddings
  const samples = pairs.map(({ id, prompt }) => {
    const texts = classifierPrompt(tokenizer, model.config, prompt).map((ids) => ids.subarray(0, maxLength))
    const longest = Math.max(...texts.map((ids) => ids.length))
    if (longest > room)
      throw new LanternError(
        'ERR_PROMPT',
        `pair ${id} has ${longest} tokens, and ${path} has ${room} positions; shorten its post or profile, or leave it out`,
      )
    return joined(texts)
  })
  const rows: Float32Array[] = []
  for (const micro of microBatches(samples, microBatchTokens)) {
    signal?.throwIfAborted()
    const logits = await forward(model, micro)
    for (let row = 0; row < micro.length; row++)
      rows.push(Float32Array.from(order, (column) => logits[row * order.length + column]!))
  }
  return rows
}

async function forward(model: Model, micro: readonly Sample[]): Promise<Float32Array> {
  using _scope = model.device.scope()
  return await model.classify(pack(model.device, micro.flatMap(sequencesOf))).floats()
}
