import { z } from 'zod'
import { withoutDefaults } from '../command.js'
import type { ExplainerScores } from '../eval.js'
import { folder, trainingSettings } from '../settings.js'
import { type Column, OURS, type TrainingStage, trainingOf } from './grid.js'

const percent = (share: number): string => (100 * share).toFixed(1)
const share = (field: string, title: string): Column => ({ field, title, text: percent })

/** What a table says of an explainer: the layout of the paper's table 1, and behind it how right the explanations are. */
export const EXPLAINER_COLUMNS: readonly Column[] = [
  { field: 'loss', title: 'loss', text: (nats) => nats.toFixed(3) },
  share('rouge1', 'ROUGE-1'),
  share('rouge2', 'ROUGE-2'),
  share('rougeL', 'ROUGE-L'),
  share('verdictsRight', 'verdicts right'),
  share('evidenceRight', 'evidence right'),
  share('levelRight', 'level right'),
]

/** How the columns are to be read. */
export const EXPLAINER_NOTE =
  'Greedy explanations of held-out pairs. Loss: corpus negative log-likelihood of the reference, nats a token. ROUGE: mean F1, in percent. Verdicts, evidence and level, in percent: as the reference has them.'

/** The numbers of an explainer by the fields of its columns; intervals beside the bar of the plot. */
export function explainerFields({ loss, rouge, explanation }: ExplainerScores): Record<string, number> {
  const { rouge1, rouge2, rougeL } = rouge
  return {
    loss,
    rouge1: rouge1.f1,
    rouge2: rouge2.f1,
    rougeL: rougeL.f1,
    rougeLLow: rougeL.interval.low,
    rougeLHigh: rougeL.interval.high,
    verdictsRight: explanation.statusAccuracy,
    evidenceRight: explanation.evidenceAccuracy,
    levelRight: explanation.levelRight,
  }
}

/** Settings of training that a table leaves to the model, as {@link trainingOf} does. */
export const tableTraining = withoutDefaults(trainingSettings)

/** What tables with a teacher are told of it. */
export const teacherSettings = z.object({
  teacher: folder('model that the teacher is fine-tuned from (default: ours, assets/teacher)').optional(),
  tunedTeacher: folder('a teacher that is fine-tuned already, in place of teacher').optional(),
  teacherSteps: z.int().min(1).optional().describe('optimiser steps of the teacher (default: as the training section)'),
  teacherLearningRate: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe("the teacher's highest learning rate (default: as the training section)"),
  training: tableTraining.prefault({}),
})

/** The teacher of a grid: its stage, unless it is tuned already, and what other stages call it. */
export function teacherOf(settings: z.output<typeof teacherSettings>): {
  stages: TrainingStage[]
  teacher: string
} {
  const { tunedTeacher, teacher: from = OURS.teacher, teacherSteps, teacherLearningRate, training } = settings
  if (tunedTeacher !== undefined) return { stages: [], teacher: tunedTeacher }
  const own = {
    ...(teacherSteps !== undefined && { steps: teacherSteps }),
    ...(teacherLearningRate !== undefined && { learningRate: teacherLearningRate }),
  }
  const stage = { name: 'teacher', kind: 'sft', from, training: trainingOf('teacher', from, { ...training, ...own }) }
  return { stages: [stage as TrainingStage], teacher: 'teacher' }
}
