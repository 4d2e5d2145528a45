import { z } from 'zod'
import { LEVELS } from '../distill/samples.js'
import { ArgumentError } from '../errors.js'
import type { ModelConfig, TwoTowerHead } from '../models/config.js'

/** What a classifier is made of. */
export const headSettings = z.object({
  structure: z
    .enum(['seqCls', 'twoTower'])
    .optional()
    .describe(
      'one prompt of post and profile, or one encoder that reads each alone (default: as the model has, else seqCls)',
    ),
  interaction: z
    .enum(['concat', 'dot'])
    .optional()
    .describe('how the two towers meet (default: as the model has, else concat)'),
  pooling: z
    .enum(['last', 'mean', 'cls'])
    .optional()
    .describe(
      "which state stands for a text (default: the model's own; decoders have last and mean, ModernBERT cls and mean)",
    ),
  classifierHidden: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "hidden size of the head's MLP; 0: a linear head, which transformers loads too, and for concat the model's own size",
    ),
  bidirectional: z
    .boolean()
    .default(false)
    .describe(
      'let every token see the whole text, for decoders whose config.json does not say so (older copies of gte-Qwen2)',
    ),
})

type HeadSettings = z.output<typeof headSettings>

/**
 * What of a model's config becomes another under a classifier's head.
 * @throws ArgumentError for settings that do not go together, or not with the model's family
 */
export function headConfig(settings: HeadSettings, config: ModelConfig) {
  const { pooling, bidirectional, classifierHidden } = settings
  const structure = settings.structure ?? (config.twoTower ? 'twoTower' : 'seqCls')
  const twoTower = structure === 'twoTower' ? towers(settings, config) : undefined
  if (!twoTower && settings.interaction)
    throw new ArgumentError(
      `interaction: ${settings.interaction} is of two towers; set structure to twoTower, or leave it out`,
    )
  const inner = !twoTower && classifierHidden > 0
  if (inner && config.modelType === 'modernbert')
    throw new ArgumentError('classifierHidden: the head of ModernBERT has a hidden layer of its own; leave it out')
  return {
    numLabels: LEVELS.length,
    id2label: LEVELS,
    twoTower,
    classifierTemperature: undefined, // of the model it comes from
    ...(inner && { classifierHiddenSize: classifierHidden }),
    ...(pooling && { pooling }),
    ...(bidirectional && { causal: false }),
  }
}

function towers({ interaction, classifierHidden }: HeadSettings, { twoTower, hiddenSize }: ModelConfig): TwoTowerHead {
  const meeting = interaction ?? twoTower?.interaction ?? 'concat'
  if (meeting === 'concat') {
    const own = twoTower?.interaction === 'concat' ? twoTower.hiddenSize : hiddenSize
    return { interaction: meeting, hiddenSize: classifierHidden || own }
  }
  if (classifierHidden > 0)
    throw new ArgumentError(
      'classifierHidden: two towers that meet by dot have no hidden layer; leave it out, or use concat',
    )
  return { interaction: meeting }
}

/** What was chosen, in two lines for people. */
export function headLines(config: ModelConfig, { frozen }: { frozen: boolean }): string[] {
  const { twoTower, causal, pooling = 'last' } = config
  const structure = twoTower ? `two towers that meet by ${twoTower.interaction}` : 'one prompt of post and profile'
  return [
    `classifier: ${structure}, pooling ${pooling}, ${frozen ? 'encoder frozen' : 'all weights trained'}`,
    `attention: ${causal ? 'causal' : 'bidirectional'} (is_causal: ${causal})`,
  ]
}
