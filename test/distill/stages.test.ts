import { describe, expect, it } from 'vitest'
import { type StageLinks, stageOrder, stageProblems } from '../../lib/distill/stages.js'

const stage = (name: string, from: string, teacher?: string, kind: StageLinks['kind'] = 'distill'): StageLinks => ({
  name,
  kind,
  from,
  ...(teacher && { teacher }),
})
const isModel = (path: string) => path.startsWith('models/')

describe('the graph of stages', () => {
  it('is ordered by what is needed first, otherwise as it is written', () => {
    const stages = [
      stage('small', 'models/s', 'middle'),
      stage('rater', 'small', undefined, 'classify'),
      stage('middle', 'models/m', 'large'),
      stage('aside', 'models/s', 'models/l'),
      stage('large', 'models/l', undefined, 'sft'),
    ]
    expect(stageProblems(stages, isModel)).toEqual([])
    expect(stageOrder(stages).map(({ name }) => name)).toEqual(['large', 'middle', 'small', 'rater', 'aside'])
  })

  it('names every name given twice and every reference to nothing, with the likely one', () => {
    const stages = [
      stage('large', 'models/l', undefined, 'sft'),
      stage('large', 'nowhere'),
      stage('b', 'models/l', 'larg'),
    ]
    expect(stageProblems(stages, isModel)).toEqual([
      { path: [1, 'name'], message: '"large" is also an earlier stage; give each its own name' },
      { path: [1, 'from'], message: '"nowhere" is neither a stage nor a model folder; the stages are large, b' },
      { path: [2, 'teacher'], message: '"larg" is neither a stage nor a model folder; did you mean "large"?' },
    ])
  })

  it('finds circles, with the way round', () => {
    const ring = [stage('a', 'models/l', 'c'), stage('b', 'a'), stage('c', 'models/l', 'b')]
    expect(stageProblems(ring, isModel)).toEqual([
      {
        path: [0, 'teacher'],
        message: 'leads round in a circle, a <- c <- b <- a; let one of them start from a model folder',
      },
    ])
    expect(stageProblems([stage('x', 'models/l'), stage('self', 'self')], isModel)[0]).toMatchObject({
      path: [1, 'from'],
      message: expect.stringContaining('self <- self'),
    })
    const beside = [stage('p', 'q'), stage('q', 'r'), stage('r', 'q')] // p leads to a circle and is in none
    expect(stageProblems(beside, isModel)[0]).toMatchObject({ path: [1, 'from'] })
  })

  it('lets nothing but a classifier start from a classifier', () => {
    const rater = stage('rater', 'models/s', undefined, 'classify')
    expect(stageProblems([rater, stage('more', 'rater', undefined, 'classify')], isModel)).toEqual([])
    expect(stageProblems([rater, stage('b', 'models/s', 'rater')], isModel)).toEqual([
      { path: [1, 'teacher'], message: '"rater" is a classifier; name a language model' },
    ])
  })
})
