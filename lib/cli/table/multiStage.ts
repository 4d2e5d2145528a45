import { z } from 'zod'
import { distillSettings, folder } from '../settings.js'
import { teacherOf, teacherSettings } from './explainers.js'
import { type Grid, namesOf, OURS, type PaperTable, trainingOf } from './grid.js'

const schema = teacherSettings.extend({
  middle: z.array(z.string().min(1)).min(1).default([OURS.student]).meta({
    description: 'models between teacher and student, from large to small (default: ours, assets/student)',
    argument: 'folder,...',
  }),
  student: folder('the smallest model (default: ours, assets/mini)').optional(),
  distill: distillSettings.prefault({}),
})

/** Table 2 (section 5.2): the same student by cross entropy alone, from the teacher at once, and from one model in between after the other. */
export const multiStage: PaperTable<typeof schema> = {
  number: 2,
  title: 'Distillation at once, and in stages',
  description: 'stages: a small student from the teacher at once, and through models of sizes in between',
  schema,
  labels: ['model', 'learns from'],
  scores: 'explanations',
  grid(settings): Grid {
    const { middle, student = OURS.mini, distill, training } = settings
    const { stages, teacher } = teacherOf(settings)
    const learn = (name: string, from: string, teacher: string) =>
      stages.push({ name, kind: 'distill', from, teacher, distill, training: trainingOf('staged', from, training) })
    const rows = [{ labels: ['teacher', 'the data'], model: teacher }]
    const way = ['teacher']
    let last = teacher
    for (const [i, name] of namesOf(middle).entries()) {
      learn(`middle-${name}`, middle[i]!, last)
      rows.push({ labels: [name, way.join(' -> ')], model: `middle-${name}` })
      last = `middle-${name}`
      way.push(name)
    }
    const [small] = namesOf([student]) as [string]
    stages.push({ name: 'alone', kind: 'sft', from: student, training: trainingOf('staged', student, training) })
    learn('direct', student, teacher)
    learn('staged', student, last)
    rows.push(
      { labels: [small, 'SFT'], model: 'alone' },
      { labels: [small, 'teacher'], model: 'direct' },
      { labels: [small, way.join(' -> ')], model: 'staged' },
    )
    return { stages, rows }
  },
}
