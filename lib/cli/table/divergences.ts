import { z } from 'zod'
import { DIVERGENCES, type DivergenceKind } from '../../ops/divergence.js'
import { distillSettings, folder } from '../settings.js'
import { teacherOf, teacherSettings } from './explainers.js'
import { type Grid, OURS, type PaperTable, trainingOf } from './grid.js'

/** What the paper calls the divergences. */
export const SHORT_NAMES: Readonly<Record<DivergenceKind, string>> = {
  forwardKL: 'FKL',
  reverseKL: 'RKL',
  symmetricKL: 'SKL',
  jensenShannon: 'JS',
  totalVariation: 'TVD',
  generalizedJS: 'GJS',
}

const schema = teacherSettings.extend({
  student: folder('model that every student starts from (default: ours, assets/student)').optional(),
  divergences: z
    .array(z.enum(DIVERGENCES))
    .min(1)
    .default(['jensenShannon', 'forwardKL', 'totalVariation', 'symmetricKL'])
    .describe('a student each'),
  distill: distillSettings.omit({ divergence: true }).prefault({}),
})

/** Table 1: one student by cross entropy alone and one by each divergence, all from the same start, the same data and the same teacher. */
export const divergences: PaperTable<typeof schema> = {
  number: 1,
  title: 'What a student learns from: cross entropy alone, or a divergence from its teacher as well',
  description: 'divergences: students of one teacher by cross entropy alone and by each divergence',
  schema,
  labels: ['model', 'learns from'],
  scores: 'explanations',
  grid(settings): Grid {
    const { student = OURS.student, distill, training } = settings
    const { stages, teacher } = teacherOf(settings)
    const common = { from: student, training: trainingOf('student', student, training) }
    const rows = [
      { labels: ['student', 'nothing yet'], model: student },
      { labels: ['teacher', 'the data'], model: teacher },
      { labels: ['student', 'SFT'], model: 'sft' },
    ]
    stages.push({ name: 'sft', kind: 'sft', ...common })
    for (const divergence of new Set(settings.divergences)) {
      const short = SHORT_NAMES[divergence]
      const name = short.toLowerCase()
      stages.push({ name, kind: 'distill', teacher, distill: { ...distill, divergence }, ...common })
      rows.push({ labels: ['student', short], model: name })
    }
    return { stages, rows }
  },
}
