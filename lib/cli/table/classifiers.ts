import { z } from 'zod'
import { classifierSettings } from '../classifyTrain.js'
import type { ClassifierScores } from '../eval.js'
import { tableTraining } from './explainers.js'
import { type Column, type Grid, namesOf, OURS, type PaperTable, type TrainingStage, trainingOf } from './grid.js'

const percent = (share: number): string => (100 * share).toFixed(1)

/** What table 4 says of a classifier. */
export const CLASSIFIER_COLUMNS: readonly Column[] = [
  { field: 'accuracy', title: 'accuracy', text: percent },
  { field: 'weightedF1', title: 'weighted F1', text: percent },
  { field: 'ece', title: 'ECE', text: (error) => error.toFixed(3) },
]

/** How the columns are to be read. */
export const CLASSIFIER_NOTE =
  'Ratings of held-out pairs. Accuracy and weighted F1 in percent. ECE: expected calibration error, after the temperature that was fitted to the validation data.'

/** The numbers of a classifier by the fields of its columns; intervals beside the bar of the plot. */
export function classifierFields({ accuracy, weightedF1, ece, intervals }: ClassifierScores): Record<string, number> {
  const { low, high } = intervals.weightedF1
  return { accuracy, weightedF1, weightedF1Low: low, weightedF1High: high, ece: ece.calibrated }
}

const options = <const T extends readonly [string, ...string[]]>(values: T, help: string) =>
  z
    .array(z.enum(values))
    .min(1)
    .default([...values] as never)
    .describe(help)

const schema = z.object({
  models: z.array(z.string().min(1)).min(1).default([OURS.student]).meta({
    description: 'encoders to compare, of any family (default: ours, assets/student)',
    argument: 'folder,...',
  }),
  structures: options(['seqCls', 'twoTower'], 'one prompt of post and profile, one encoder that reads each alone'),
  interactions: options(['concat', 'dot'], 'how the two towers meet'),
  poolings: z
    .array(z.enum(['last', 'mean', 'cls']))
    .min(1)
    .default(['last', 'mean'])
    .describe('which state stands for a text; ModernBERT has cls and mean, decoders last and mean'),
  encoders: options(['frozen', 'fine-tuned'], 'whether the encoder learns, or the head alone'),
  classifier: z.object(classifierSettings.shape).pick({ classWeights: true, softLabels: true }).prefault({}),
  training: tableTraining.prefault({}),
})

/** Table 4 (sections 3.4.2 and 4.3.2): structure, interaction, pooling and what is trained of a classifier. */
export const classifiers: PaperTable<typeof schema> = {
  number: 4,
  title: 'Classifiers: structure, interaction, pooling, and what of them is trained',
  description: 'classifiers: structures, interactions, poolings, frozen and fine-tuned encoders',
  schema,
  labels: ['model', 'structure', 'interaction', 'pooling', 'encoder'],
  scores: 'ratings',
  grid(settings): Grid {
    const { models, structures, interactions, poolings, encoders, classifier, training } = settings
    const grid: Grid = { stages: [], rows: [] }
    const heads = structures.flatMap((structure): { structure: string; interaction?: string }[] =>
      structure === 'twoTower' ? interactions.map((interaction) => ({ structure, interaction })) : [{ structure }],
    )
    for (const [i, model] of namesOf(models).entries())
      for (const head of heads)
        for (const pooling of poolings)
          for (const encoder of encoders) {
            const parts = [model, head.structure, head.interaction ?? '-', pooling, encoder]
            const from = models[i]!
            const frozen = encoder === 'frozen'
            const name = parts.filter((part) => part !== '-').join('-')
            const asked = trainingOf(frozen ? 'head' : 'classifier', from, training)
            const stage = { name, kind: 'classify', from, ...classifier, ...head, pooling, frozen, training: asked }
            grid.stages.push(stage as TrainingStage)
            grid.rows.push({ labels: parts, model: name })
          }
    return grid
  },
}
