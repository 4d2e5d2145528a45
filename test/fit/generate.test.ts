import { describe, expect, it } from 'vitest'
import { sectorFeats, softFeats } from '../../lib/fit/catalogue/phrases.js'
import { catalogueEntry, certificates, fields, skills, skillsOf } from '../../lib/fit/catalogue.js'
import { parseExplanation } from '../../lib/fit/explain.js'
import { generatePairs } from '../../lib/fit/generate.js'
import { findNames } from '../../lib/fit/match.js'
import { countWords } from '../../lib/fit/text.js'
import { Random } from '../../lib/random.js'

describe('catalogue', () => {
  const entries = [...skills, ...certificates]
  it('names every skill once and relates to known names only', () => {
    const names = entries.map((entry) => entry.name)
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([])
    expect(entries.flatMap((entry) => entry.related.filter((name) => !catalogueEntry(name)))).toEqual([])
  })
  it('finds every name and every synonym in text again', () => {
    const lost = entries.flatMap((entry) => {
      const kind = entry.table === 'certificate' ? 'certificate' : 'skill'
      return [entry.name, ...entry.synonyms].filter((word) => findNames(word, kind)[0] !== entry.name)
    })
    expect(lost).toEqual([])
  })
  it('has twelve fields with certificates and sectors it knows', () => {
    expect(fields.length).toBe(12)
    for (const field of fields) {
      expect(skillsOf(field.id).length, field.id).toBeGreaterThanOrEqual(10)
      expect(field.sectors.filter((sector) => !catalogueEntry(sector))).toEqual([])
      expect(field.certificates.filter((name) => !catalogueEntry(name))).toEqual([])
    }
  })
  it('shows soft skills and sectors by lines that are recognised', () => {
    for (const [name, lines] of Object.entries({ ...softFeats, ...sectorFeats })) {
      for (const line of lines) expect(findNames(line, 'skill'), line).toContain(name)
    }
    for (const skill of skillsOf('soft')) expect(softFeats, skill.name).toHaveProperty([skill.name])
    for (const skill of skillsOf('sector')) expect(sectorFeats, skill.name).toHaveProperty([skill.name])
  })
  it('has duties, benefits and feats that name no skill by accident', () => {
    const named = fields.flatMap((field) => field.feats).filter((line) => findNames(line, 'skill').length > 0)
    expect(named).toEqual([])
  })
})

describe('Random', () => {
  it('gives the same stream for a seed and another for its neighbour', () => {
    const stream = (seed: number | string) =>
      Array.from(
        { length: 8 },
        (
          (random) => () =>
            random.next()
        )(new Random(seed)),
      )
    expect(stream(1)).toEqual(stream('1'))
    expect(stream(1)).not.toEqual(stream(2))
    expect(stream(7).every((word) => Number.isInteger(word) && word >= 0 && word < 2 ** 32)).toBe(true)
  })
  it('is uniform enough', () => {
    const random = new Random('uniform')
    const counts = new Array<number>(10).fill(0)
    for (let i = 0; i < 20_000; i++) counts[random.int(0, 9)]!++
    const chi = counts.reduce((sum, count) => sum + (count - 2000) ** 2 / 2000, 0)
    expect(chi).toBeLessThan(27.9) // 99.9 % quantile of chi-square with 9 degrees of freedom
    expect(random.shuffle([1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4])
    expect(() => random.pick([])).toThrow(RangeError)
  })
})

describe('generated pairs', () => {
  const pairs = [...generatePairs({ seed: 42, count: 360 })]

  it('are the same for the same seed, and a longer run begins with a shorter one', () => {
    const again = [...generatePairs({ seed: 42, count: 31 })]
    expect(again).toEqual(pairs.slice(0, 31))
    expect([...generatePairs({ seed: 43, count: 3 })][0]!.jobText).not.toBe(pairs[0]!.jobText)
  })
  it('are balanced exactly, over all and per job', () => {
    for (const level of ['low', 'medium', 'high']) expect(pairs.filter((pair) => pair.level === level).length).toBe(120)
    for (const pair of pairs) expect(pair.assessment.level).toBe(pair.level)
    expect(new Set(pairs.map((pair) => pair.jobId)).size).toBe(120)
  })
  it('are all different', () => {
    for (const text of ['id', 'profileText', 'explanation'] as const)
      expect(new Set(pairs.map((pair) => pair[text])).size).toBe(360)
    expect(new Set(pairs.map((pair) => pair.jobText)).size).toBe(120)
  })
  it('have posts, prompts and explanations of the lengths asked for', () => {
    for (const pair of pairs) {
      const words = {
        job: countWords(pair.jobText),
        prompt: countWords(`${pair.prompt.system} ${pair.prompt.user}`),
        explanation: countWords(pair.explanation),
      }
      expect(words.job, pair.jobText).toBeGreaterThanOrEqual(300)
      expect(words.job).toBeLessThanOrEqual(700)
      expect(words.prompt, pair.prompt.user).toBeLessThanOrEqual(180)
      expect(words.explanation, pair.explanation).toBeLessThanOrEqual(120)
      expect(words.explanation, pair.explanation).toBeGreaterThanOrEqual(50)
      expect(pair.job.requirements.length).toBeGreaterThanOrEqual(5)
      expect(pair.job.requirements.length).toBeLessThanOrEqual(8)
    }
  })
  it('have posts that are understood: header, sections, and no requirement the catalogue does not know', () => {
    for (const { job, jobText } of pairs) {
      expect(job.company).not.toBe('')
      expect(jobText.split('\n')[0]).toContain(job.title.replace(/^an? /, ''))
      expect(job.responsibilities.length, jobText).toBeGreaterThanOrEqual(5)
      expect(job.benefits.length).toBeGreaterThanOrEqual(5)
      expect(job.requirements.filter((wanted) => wanted.type === 'other')).toEqual([])
      expect(job.requirements.some((wanted) => wanted.kind === 'nice')).toBe(true)
    }
  })
  it('have profiles that are understood', () => {
    for (const { profile, profileText } of pairs) {
      expect(profile.experience.length, profileText).toBeGreaterThan(0)
      for (const work of profile.experience) expect([work.title, work.company].every(Boolean), profileText).toBe(true)
      expect(profile.name).toBeTruthy()
      expect(profile.headline).toBe(profile.experience[0]!.title)
    }
  })
  it('quote literally, and prompts carry every phrase that the explanation repeats', () => {
    for (const { assessment, profile, prompt } of pairs) {
      for (const { evidence, requirement } of assessment.findings) {
        expect(prompt.user).toContain(`. ${requirement.short}\n`)
        if (!evidence) continue
        expect(evidence.quote).not.toBe('')
        expect(profile.text).toContain(evidence.quote)
        expect(prompt.user, profile.text).toContain(evidence.phrase)
      }
    }
  })
  it('have explanations that are read back to the verdicts', () => {
    for (const { assessment, explanation, level } of pairs) {
      const read = parseExplanation(explanation)
      expect(read.level).toBe(level)
      expect(read.requirements.map(({ short, kind, status }) => ({ short, kind, status }))).toEqual(
        assessment.findings.map(({ requirement, status }) => ({
          short: requirement.short,
          kind: requirement.kind,
          status,
        })),
      )
    }
  })
  it('cover every kind of requirement in every status', () => {
    const seen = new Set(
      pairs.flatMap((pair) => pair.assessment.findings.map((entry) => `${entry.requirement.type} ${entry.status}`)),
    )
    for (const type of ['skill', 'soft', 'sector', 'degree', 'language', 'certificate', 'experience']) {
      for (const status of ['met', 'partly', 'notMet']) expect(seen).toContain(`${type} ${status}`)
    }
    const titles = new Set(pairs.map((pair) => fields.find((field) => pair.job.title.includes(field.titles[0]!))?.id))
    expect(titles.size).toBeGreaterThan(8)
  })
  it('refuse a count that is no positive integer', () => {
    for (const count of [0, -1, 1.5, Number.NaN])
      expect(() => [...generatePairs({ seed: 1, count })]).toThrow(/pass a positive integer/)
  })
})
