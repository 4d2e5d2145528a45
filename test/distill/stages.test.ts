import { describe, expect, it } from 'vitest'
import { type StageLinks, stageOrder, stageProblems } from '../../lib/distill/stages.js'

const stage = (name: string, from: string, teacher?: string, kind: StageLinks['kind'] = 'distill'): StageLinks => ({
  name,
  kind,
  from,
  ...(teacher && { teacher }),
})
const outside = {
  model: (path: string) => path.startsWith('models/'),
  signal: (path: string) => path.endsWith('.signal'),
}
const signal = (name: string, teacher: string, student?: string): StageLinks => ({
  name,
  kind: 'signal',
  teacher,
  student,
})
const offline = (name: string, teacherSignal: string): StageLinks => ({
  name,
  kind: 'distill',
  from: 'models/s',
  teacherSignal,
})

describe('the graph of stages', () => {
  it('is ordered by what is needed first, otherwise as it is written', () => {
    const stages = [
      stage('small', 'models/s', 'middle'),
      stage('rater', 'small', undefined, 'classify'),
      stage('middle', 'models/m', 'large'),
      stage('aside', 'models/s', 'models/l'),
      stage('large', 'models/l', undefined, 'sft'),
    ]
    expect(stageProblems(stages, outside)).toEqual([])
    expect(stageOrder(stages).map(({ name }) => name)).toEqual(['large', 'middle', 'small', 'rater', 'aside'])
  })

  it('names every name given twice and every reference to nothing, with the likely one', () => {
    const stages = [
      stage('large', 'models/l', undefined, 'sft'),
      stage('large', 'nowhere'),
      stage('b', 'models/l', 'larg'),
    ]
    expect(stageProblems(stages, outside)).toEqual([
      { path: [1, 'name'], message: '"large" is also an earlier stage; give each its own name' },
      { path: [1, 'from'], message: '"nowhere" is neither a stage nor a model folder; the stages are large, b' },
      { path: [2, 'teacher'], message: '"larg" is neither a stage nor a model folder; did you mean "large"?' },
    ])
  })

  it('finds circles, with the way round', () => {
    const ring = [stage('a', 'models/l', 'c'), stage('b', 'a'), stage('c', 'models/l', 'b')]
    expect(stageProblems(ring, outside)).toEqual([
      {
        path: [0, 'teacher'],
        message: 'leads round in a circle, a <- c <- b <- a; let one of them start from a model folder',
      },
    ])
    expect(stageProblems([stage('x', 'models/l'), stage('self', 'self')], outside)[0]).toMatchObject({
      path: [1, 'from'],
      message: expect.stringContaining('self <- self'),
    })
    const beside = [stage('p', 'q'), stage('q', 'r'), stage('r', 'q')] // p leads to a circle and is in none
    expect(stageProblems(beside, outside)[0]).toMatchObject({ path: [1, 'from'] })
  })

  it('orders a signal between its teacher and those who learn from it, and after the student that it is measured for', () => {
    const stages = [
      offline('small', 'said'),
      offline('aside', 'elsewhere.signal'),
      signal('said', 'large', 'start'),
      stage('start', 'models/s', undefined, 'sft'),
      stage('large', 'models/l', undefined, 'sft'),
    ]
    expect(stageProblems(stages, outside)).toEqual([])
    expect(stageOrder(stages).map(({ name }) => name)).toEqual(['large', 'start', 'said', 'small', 'aside'])
  })

  it('tells signals and models apart, and finds circles through both', () => {
    const large = stage('large', 'models/l', undefined, 'sft')
    const said = signal('said', 'large')
    const problem = (...stages: StageLinks[]) =>
      stageProblems(stages, outside).map(({ path, message }) => [path, message])
    expect(problem(large, offline('small', 'large'))).toEqual([
      [[1, 'teacherSignal'], '"large" makes a model; name it as teacher, or a stage of kind signal here'],
    ])
    expect(problem(large, said, stage('small', 'models/s', 'said'))).toEqual([
      [[2, 'teacher'], '"said" makes a signal and no model; a stage of kind distill names it as teacherSignal'],
    ])
    expect(problem(large, said, offline('small', 'sayd'))).toEqual([
      [[2, 'teacherSignal'], '"sayd" is neither a stage nor a file of a teacher\'s signal; did you mean "said"?'],
    ])
    expect(problem(stage('rater', 'models/s', undefined, 'classify'), signal('said', 'rater'))).toEqual([
      [[1, 'teacher'], '"rater" is a classifier; name a language model'],
    ])
    expect(problem(signal('said', 'small'), offline('small', 'said'))).toEqual([
      [[0, 'teacher'], 'leads round in a circle, said <- small <- said; let one of them start from a model folder'],
    ])
  })

  it('lets nothing but a classifier start from a classifier', () => {
    const rater = stage('rater', 'models/s', undefined, 'classify')
    expect(stageProblems([rater, stage('more', 'rater', undefined, 'classify')], outside)).toEqual([])
    expect(stageProblems([rater, stage('b', 'models/s', 'rater')], outside)).toEqual([
      { path: [1, 'teacher'], message: '"rater" is a classifier; name a language model' },
    ])
  })
})
