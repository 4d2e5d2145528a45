import { z } from 'zod'
import { tableTraining } from './explainers.js'
import { type Grid, namesOf, OURS, type PaperTable, trainingOf } from './grid.js'

const schema = z.object({
  models: z.array(z.string().min(1)).min(1).default([OURS.teacher, OURS.student, OURS.mini]).meta({
    description: 'models to compare, of any family that writes text (default: the three in assets/)',
    argument: 'folder,...',
  }),
  training: tableTraining.prefault({}),
})

/** Table 3: models of different sizes and families, as they come and fine-tuned on the same data. */
export const baseModels: PaperTable<typeof schema> = {
  number: 3,
  title: 'Models of different sizes and families, as they come and fine-tuned',
  description: 'base models: sizes and families, as they come and fine-tuned on the same data',
  schema,
  labels: ['model', 'training'],
  scores: 'explanations',
  grid({ models, training }): Grid {
    const grid: Grid = { stages: [], rows: [] }
    for (const [i, name] of namesOf(models).entries()) {
      const from = models[i]!
      const role = from === OURS.teacher ? 'teacher' : 'student'
      grid.stages.push({ name, kind: 'sft', from, training: trainingOf(role, from, training) })
      grid.rows.push({ labels: [name, 'none'], model: from }, { labels: [name, 'SFT'], model: name })
    }
    return grid
  },
}
