import { describe, expect, it } from 'vitest'
import { explain, parseExplanation, scoreExplanation } from '../../lib/fit/explain.js'
import { parseJob } from '../../lib/fit/job.js'
import { findNames } from '../../lib/fit/match.js'
import { parseProfile } from '../../lib/fit/profile.js'
import { readRequirements } from '../../lib/fit/requirement.js'
import { assess, levelOf } from '../../lib/fit/rubric.js'

const now = new Date('2025-06-30T00:00:00Z')
const verdict = (requirement: string, profile: string) => {
  const job = parseJob({ title: 'Job', requirements: [requirement] })
  const read = parseProfile(profile, { now })
  const finding = assess(job, read).findings[0]!
  if (finding.evidence) expect(read.text).toContain(finding.evidence.quote)
  return [finding.requirement.short, finding.status, finding.evidence?.phrase]
}
const work = (lines: string) => `Ada Example\nEngineer\n\nExperience\n${lines}`

describe('names in text', () => {
  it.each([
    ['JavaScript and HTML', ['JavaScript', 'HTML']],
    ['Java, not JavaScript', ['Java', 'JavaScript']],
    ['C, C++ and C#', ['C', 'C++', 'C#']],
    ['C/C++', ['C', 'C++']],
    ['C-level contacts and C1 German', []],
    ['Go the extra mile', []],
    ['go to customers, Go-to-market plans', []],
    ['Services in Go and Rust', ['Go', 'Rust']],
    ['Python, R, SQL', ['Python', 'R', 'SQL']],
    ['R&D budget of the R department', []],
    ['You excel at what you do and rest on Sundays', []],
    ['Excel, REST', ['Excel', 'REST APIs']],
    ['React to incidents', []],
    ['React, Redux', ['React', 'Redux']],
    ['ASP.NET Core and .NET', ['.NET']],
    ['PostgreSQL', ['PostgreSQL']],
    ['k8s on GCP', ['Kubernetes', 'Google Cloud']],
    ['React Native apps', ['React Native']],
    ['İstanbul office, Python', ['Python']],
  ])('%s', (text, names) => expect(findNames(text, 'skill')).toEqual(names))
})

describe('requirement lines', () => {
  it.each([
    ['5+ years of experience with Python', ['Python, 5+ years']],
    ['At least five years of Python', ['Python, 5+ years']],
    ['3-5 years of hands-on SQL', ['SQL, 3+ years']],
    ['Python or Java', ['Python or Java']],
    ['JavaScript, HTML and CSS', ['JavaScript', 'HTML', 'CSS']],
    ['5+ years of Python and experience with Kafka', ['Python, 5+ years', 'Kafka']],
    ["Bachelor's degree in Computer Science or a related field", ["Bachelor's degree in Computer Science"]],
    ["A Bachelor's or Master's degree in Nursing", ["Bachelor's degree in Nursing"]],
    ['Degree in engineering', ['Degree in Engineering']],
    ["Bachelor's degree in Accounting and 3 years of IFRS", ["Bachelor's degree in Accounting", 'IFRS, 3+ years']],
    ['Fluent German and English', ['German, C1', 'English, C1']],
    ['English, at least B1', ['English, B1']],
    ['German at level B2 or above', ['German, B2']],
    ['You are AWS Certified Solutions Architect', ['AWS Certified Solutions Architect']],
    ['PMP required', ['PMP certificate']],
    ['8+ years of professional experience', ['professional experience, 8+ years']],
    ['At least 4 years in nursing', ['nursing, 4+ years']],
    ['Certified Scrum Master', ['Professional Scrum Master']],
    ['You are at least 18 years old', ['At least 18 years old']],
    ['You enjoy a high degree of independence', ['High degree of independence']],
  ])('%s', (line, shorts) => expect(readRequirements(line, 'must').map((entry) => entry.short)).toEqual(shorts))

  it('reads importance from the line', () => {
    expect(readRequirements('Kafka is a plus', 'must')[0]!.kind).toBe('nice')
    expect(readRequirements('Kafka', 'must')[0]!.kind).toBe('must')
  })
})

describe('status of one requirement', () => {
  const acme = work('Developer at Acme (01/2018 - 12/2020)\n- Built services in Python\n')
  it.each([
    ['skill with years met', '3+ years of Python', acme, 'met', 'Python (3 years at Acme)'],
    ['skill with years partly', '5+ years of Python', acme, 'partly', 'Python (3 years at Acme)'],
    ['skill with far fewer years', '8+ years of Python', acme, 'notMet', 'Python (3 years at Acme)'],
    ['skill without years', 'Python', acme, 'met', 'Python (3 years at Acme)'],
    [
      'related skill',
      'FastAPI',
      work('Dev at Acme (2018 - 2020)\n- Django services'),
      'partly',
      'Django (2 years at Acme)',
    ],
    ['missing skill', 'Kubernetes', acme, 'notMet', undefined],
    ['listed without years', '3+ years of Go', 'Jo\n\nSkills\nGo, Python', 'partly', 'Go (listed)'],
    ['stated years', '3+ years of Go', 'Jo\n\nSkills\nGo (4 years), Python', 'met', 'Go (4 years)'],
    ['Java is not JavaScript', 'Java', 'Jo\n\nSkills\nJavaScript, CSS', 'notMet', undefined],
    ['JavaScript is not Java', 'JavaScript', 'Jo\n\nSkills\nJava', 'notMet', undefined],
    ['C is not C++', 'C#', 'Jo\n\nSkills\nC++, C', 'notMet', undefined],
    ['Go is no verb', 'Golang', 'Jo\n\nSummary\nI always go the extra mile. Go and see.', 'notMet', undefined],
    ['synonym', 'Kubernetes', 'Jo\n\nSkills\nk8s', 'met', 'Kubernetes (listed)'],
    ['alternative', 'Python or Java', 'Jo\n\nSkills\nJava', 'met', 'Java (listed)'],
    [
      'degree met by a higher one',
      "Bachelor's degree in Computer Science",
      'Jo\n\nEducation\nMSc Informatics, Lund University',
      'met',
      "Master's degree in Informatics (completed)",
    ],
    [
      'degree of a lower level',
      "Master's degree in Computer Science",
      'Jo\n\nEducation\nBSc Computer Science, 2015',
      'partly',
      "Bachelor's degree in Computer Science (completed)",
    ],
    [
      'degree in another subject',
      "Bachelor's degree in Nursing",
      "Jo\n\nEducation\nBachelor's degree in History",
      'partly',
      "Bachelor's degree in History (completed)",
    ],
    ['no degree', "Bachelor's degree in Nursing", acme, 'notMet', undefined],
    ['language met', 'German (B2)', 'Jo\n\nLanguages\nGerman (native), English (C1)', 'met', 'German (native)'],
    ['language below', 'German (C1)', 'Jo\n\nLanguages\nnative English, German B1', 'partly', 'German (B1)'],
    ['language without level', 'German (C1)', 'Jo\n\nLanguages\nGerman', 'partly', 'German (listed)'],
    ['language missing', 'German (C1)', 'Jo\n\nLanguages\nEnglish (C2)', 'notMet', undefined],
    [
      'certificate met',
      'Certified Kubernetes Administrator',
      'Jo\n\nCertificates\n- CKA (2023)',
      'met',
      'Certified Kubernetes Administrator (held)',
    ],
    [
      'certificate related',
      'PMP required',
      'Jo\n\nCertificates\n- PRINCE2 Practitioner',
      'partly',
      'PRINCE2 certificate (held)',
    ],
    ['certificate missing', 'PMP required', 'Jo\n\nSkills\nExcel', 'notMet', undefined],
    [
      'area met',
      '3+ years in nursing',
      work('Staff Nurse at St. Mary (2018 - 2022)'),
      'met',
      'nursing (4 years at St. Mary)',
    ],
    ['area of other work', '3+ years in nursing', acme, 'notMet', undefined],
    ['total experience', '2+ years of professional experience', acme, 'met', 'professional experience (3 years)'],
    [
      'total experience short',
      '5 years of professional experience',
      acme,
      'partly',
      'professional experience (3 years)',
    ],
    [
      'soft skill quoted',
      'Mentoring',
      work('Nurse at Acme (2018 - 2020)\n- Mentored four junior colleagues.'),
      'met',
      'mentoring ("Mentored four junior colleagues" at Acme)',
    ],
    [
      'sector',
      'Experience in the insurance industry',
      work('Clerk at Acme (2018 - 2020)\n- Worked for banks'),
      'partly',
      'financial services sector ("Worked for banks" at Acme)',
    ],
    ['unknown phrase met', 'Beekeeping', 'Jo\n\nSummary\nBeekeeping is my life.', 'met', 'Beekeeping'],
    ['unknown phrase missing', 'Beekeeping', acme, 'notMet', undefined],
  ])('%s', (_, requirement, profile, status, phrase) => {
    expect(verdict(requirement, profile).slice(1)).toEqual([status, phrase])
  })

  it('counts overlapping employments once and present up to now', () => {
    const overlap = work(
      'Developer at Acme (Jan 2018 - Dec 2021)\n- Python\n\nDeveloper at Beta (Jan 2020 - Dec 2022)\n- Python',
    )
    expect(verdict('5+ years of Python', overlap)).toEqual(['Python, 5+ years', 'met', 'Python (5 years)'])
    expect(verdict('6+ years of Python', overlap)[1]).toBe('partly')
    const present = work('Developer at Acme (Jul 2021 - present)\n- Python')
    expect(verdict('4+ years of Python', present)[1]).toBe('met')
    expect(verdict('5+ years of Python', present)[1]).toBe('partly')
  })
})

describe('level', () => {
  const must = (status: 'met' | 'partly' | 'notMet') => ({ kind: 'must' as const, status })
  const nice = (status: 'met' | 'partly' | 'notMet') => ({ kind: 'nice' as const, status })
  it.each([
    ['all met', [must('met'), must('met'), nice('met')], 'high'],
    ['nice ones missing', [must('met'), must('met'), must('met'), nice('notMet')], 'high'],
    ['one must missing', [must('met'), must('met'), must('met'), must('met'), must('notMet')], 'medium'],
    ['half of the musts missing', [must('met'), must('notMet'), nice('met'), nice('met'), nice('met')], 'low'],
    ['all partly', [must('partly'), must('partly')], 'medium'],
    ['little', [must('partly'), must('partly'), nice('notMet')], 'low'],
  ])('%s', (_, verdicts, level) => expect(levelOf(verdicts).level).toBe(level))
  it('weighs musts twice', () => expect(levelOf([must('met'), nice('notMet')]).score).toBeCloseTo(2 / 3, 12))
})

describe('explanation', () => {
  const job = parseJob(
    'Developer at Acme\n\nRequirements\n- 5+ years of Python\n- Kubernetes\n- German (B2)\n\nNice to have\n- AWS Certified Developer',
  )
  const profile = parseProfile(work('Developer at Beta (2015 - 2022)\n- Python and Docker\n\nLanguages\nGerman (B1)'), {
    now,
  })
  const text = explain(assess(job, profile))

  it('repeats requirements and evidence in regular sentences', () => {
    expect(text).toBe(
      [
        '1. Python, 5+ years: profile shows Python (7 years at Beta). Met.',
        '2. Kubernetes: profile shows Docker (7 years at Beta), which is related. Partly met.',
        '3. German, B2: profile shows German (B1), which is not enough. Partly met.',
        '4. AWS Certified Developer, nice to have: no evidence in the profile. Not met.',
        'The strongest match is Python, 5+ years; the biggest gap is AWS Certified Developer.',
        'Fit: medium',
      ].join('\n'),
    )
  })

  it('is read back', () => {
    const read = parseExplanation(text)
    expect(read.level).toBe('medium')
    expect(read.requirements.map(({ short, kind, status }) => [short, kind, status])).toEqual([
      ['Python, 5+ years', 'must', 'met'],
      ['Kubernetes', 'must', 'partly'],
      ['German, B2', 'must', 'partly'],
      ['AWS Certified Developer', 'nice', 'notMet'],
    ])
    expect(read.requirements[3]!.evidence).toBeUndefined()
    expect(parseExplanation('nonsense\nPython: Met')).toEqual({ requirements: [] })
    expect(parseExplanation('Node.js: profile shows Node.js (3 years). Met.').requirements[0]!.short).toBe('Node.js')
  })

  it('is scored', () => {
    expect(scoreExplanation(text, text)).toEqual({
      statusAccuracy: 1,
      coverage: 1,
      evidenceAccuracy: 1,
      levelRight: true,
    })
    const wrong = text
      .replace('Fit: medium', 'Fit: high')
      .replace('related. Partly met', 'related. Met')
      .replace('(B1)', '(A2)')
    expect(scoreExplanation(wrong, text)).toEqual({
      statusAccuracy: 0.75,
      coverage: 1,
      evidenceAccuracy: 0.5,
      levelRight: false,
    })
  })
})
