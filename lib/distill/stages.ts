import { suggest } from '../config/suggest.js'

/** What a stage does: a signal is what is kept of a teacher's distributions, the others train a model. */
export type StageKind = 'sft' | 'signal' | 'distill' | 'classify'

/** How a stage of a chain is made from others: LANTERN, section 5.2 and table 2, is 7B -> 1.5B -> 0.5B. */
export interface StageLinks {
  name: string
  kind: StageKind
  /** Model to start from: a folder, or the name of another stage. A signal has none. */
  from?: string | undefined
  /** Model to learn from, likewise. */
  teacher?: string | undefined
  /** What is kept of one, in its place: a file, or the name of a signal's stage. */
  teacherSignal?: string | undefined
  /** Model that a signal's error is measured for, as `from`. */
  student?: string | undefined
}

/** How a stage names what it is made from. */
export const STAGE_LINKS = ['from', 'teacher', 'teacherSignal', 'student'] as const
type Link = (typeof STAGE_LINKS)[number]

/** Whether a path that is no stage's name is what a link may name. */
export interface Outside {
  model(path: string): boolean
  signal(path: string): boolean
}

/** What is wrong with a graph of stages, and where: keys and indices from the list of stages on. */
export interface StageProblem {
  path: readonly (string | number)[]
  message: string
}

/**
 * Everything that keeps stages from being run in some order: names given twice, references to nothing, models, classifiers and signals in
 * each other's places, circles.
 */
export function stageProblems(stages: readonly StageLinks[], outside: Outside): StageProblem[] {
  const problems: StageProblem[] = []
  const byName = new Map<string, StageLinks>()
  stages.forEach((stage, i) => {
    if (byName.has(stage.name))
      problems.push({ path: [i, 'name'], message: `"${stage.name}" is also an earlier stage; give each its own name` })
    else byName.set(stage.name, stage)
  })
  stages.forEach((stage, i) => {
    for (const link of STAGE_LINKS) {
      const target = stage[link]
      if (target === undefined) continue
      const other = byName.get(target)
      const message = other ? unfit(other, stage, link) : unknown(target, link, [...byName.keys()], outside)
      if (message) problems.push({ path: [i, link], message: `"${target}" ${message}` })
    }
  })
  const circle = problems.length === 0 ? findCircle(stages) : null
  if (circle) problems.push(circle)
  return problems
}

/** Why what a stage makes is not what the link of another wants; null when it is. */
function unfit(made: StageLinks, stage: StageLinks, link: Link): string | null {
  if (link === 'teacherSignal')
    return made.kind === 'signal' ? null : 'makes a model; name it as teacher, or a stage of kind signal here'
  if (made.kind === 'signal') return 'makes a signal and no model; a stage of kind distill names it as teacherSignal'
  const classifier = made.kind === 'classify' && !(link === 'from' && stage.kind === 'classify')
  return classifier ? 'is a classifier; name a language model' : null
}

/** What is wrong with a reference to no stage; null when it is to something outside. */
function unknown(target: string, link: Link, names: readonly string[], outside: Outside): string | null {
  const signal = link === 'teacherSignal'
  if (signal ? outside.signal(target) : outside.model(target)) return null
  const meant = suggest(target, names)
  const hint = meant === undefined ? `the stages are ${names.join(', ')}` : `did you mean "${meant}"?`
  return `is neither a stage nor a ${signal ? "file of a teacher's signal" : 'model folder'}; ${hint}`
}

/** Stages in an order in which each comes after those it is made from; otherwise that of the list. There must be no problems. */
export function stageOrder<S extends StageLinks>(stages: readonly S[]): S[] {
  const byName = new Map(stages.map((stage) => [stage.name, stage]))
  const order = new Set<S>()
  const visit = (stage: S): void => {
    for (const link of STAGE_LINKS) {
      const before = byName.get(stage[link] ?? '')
      if (before && !order.has(before)) visit(before)
    }
    order.add(stage)
  }
  for (const stage of stages) visit(stage)
  return [...order]
}

/** The first link, in the order of the list, that leads back to its own stage. */
function findCircle(stages: readonly StageLinks[]): StageProblem | null {
  const byName = new Map(stages.map((stage) => [stage.name, stage]))
  const wayBack = (from: StageLinks, to: string, seen: Set<string>): string[] | null => {
    if (from.name === to) return [to]
    if (seen.has(from.name)) return null
    seen.add(from.name)
    for (const link of STAGE_LINKS) {
      const next = byName.get(from[link] ?? '')
      const rest = next && wayBack(next, to, seen)
      if (rest) return [from.name, ...rest]
    }
    return null
  }
  for (const [i, stage] of stages.entries())
    for (const link of STAGE_LINKS) {
      const next = byName.get(stage[link] ?? '')
      const way = next && wayBack(next, stage.name, new Set())
      if (way)
        return {
          path: [i, link],
          message: `leads round in a circle, ${[stage.name, ...way].join(' <- ')}; let one of them start from a model folder`,
        }
    }
  return null
}
