import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import { InputError } from '../../lib/errors.js'
import { parseJob } from '../../lib/fit/job.js'
import { parseProfile } from '../../lib/fit/profile.js'
import { fitPrompt } from '../../lib/fit/prompt.js'
import { assess } from '../../lib/fit/rubric.js'
import { htmlToText } from '../../lib/fit/text.js'

const now = new Date('2025-06-30T00:00:00Z')
const resume: unknown = createRequire(import.meta.url)('@jsonresume/schema/sample.resume.json')
const shorts = (input: unknown) => parseJob(input).requirements.map((entry) => `${entry.kind} ${entry.short}`)

const posting = {
  '@context': 'https://schema.org/',
  '@type': 'JobPosting',
  title: 'Backend Developer',
  hiringOrganization: { '@type': 'Organization', name: 'Paywise' },
  jobLocation: {
    '@type': 'Place',
    address: { '@type': 'PostalAddress', addressLocality: 'Berlin', addressCountry: 'DE' },
  },
  description:
    '<p>We build payments &amp; more.</p><h3>What you will do</h3><ul><li>Build services</li><li>Review code</li></ul><p><strong>Must have:</strong></p><ul><li>3+ years of Python</li></ul><p><b>Nice to have</b></p><ul><li>Kafka</li></ul>',
  skills: 'PostgreSQL, Docker',
  experienceRequirements: { '@type': 'OccupationalExperienceRequirements', monthsOfExperience: 60 },
  educationRequirements: { '@type': 'EducationalOccupationalCredential', credentialCategory: 'bachelor degree' },
  qualifications: ['Fluent English'],
  jobBenefits: '30 days of holiday; Pension',
}
const postingShorts = ['must Python, 3+ years', 'must professional experience, 5+ years', "must Bachelor's degree", 'must English, C1', 'must PostgreSQL', 'must Docker', 'nice Kafka'] // biome-ignore format: a list

describe('job posts', () => {
  it('read schema.org JSON-LD with an HTML description', () => {
    const job = parseJob(posting)
    expect(job).toMatchObject({ title: 'Backend Developer', company: 'Paywise', location: 'Berlin, DE', years: 5 })
    expect(shorts(posting)).toEqual(postingShorts)
    expect(job.responsibilities).toEqual(['Build services', 'Review code'])
    expect(job.benefits).toEqual(['30 days of holiday', 'Pension'])
    expect(job.text).toContain('We build payments & more.')
  })
  it.each([
    ['an array', [{ '@type': 'Organization' }, posting]],
    ['an @graph', { '@context': 'https://schema.org', '@graph': [{ '@type': 'WebPage' }, posting] }],
    ['a string', JSON.stringify(posting)],
    ['a list of types', { ...posting, '@type': ['https://schema.org/JobPosting'] }],
  ])('read JSON-LD in %s', (_, input) => expect(shorts(input)).toEqual(postingShorts))

  it.each([
    ['Requirements:', 'must'], ['What you bring', 'must'], ['MUST HAVE', 'must'], ['## Your profile', 'must'], ['**Qualifications**', 'must'],
    ["What we're looking for", 'must'], ['Who you are', 'must'], ['Minimum qualifications', 'must'], ['What you’ll need:', 'must'],
    ['Nice to have', 'nice'], ['Nice-to-haves:', 'nice'], ['Bonus points', 'nice'], ['Preferred qualifications', 'nice'], ['Desirable', 'nice'],
    ["It's a plus if:", 'nice'],
  ])('take the heading %s for %s', (heading, kind) => {
    const other = kind === 'nice' ? '' : 'nothing else'
    const job = parseJob(`Cook at Bistro\n\n${heading}\n- Pastry\n\nBenefits\n- Pension and SAP ${other}`)
    expect(job.requirements.map((entry) => [entry.short, entry.kind])).toEqual([['pastry', kind]])
    expect(job.benefits).toHaveLength(1)
  }) // biome-ignore format: a table
  it.each(['-', '*', '•', '1.', '2)', '–', '✓'])('read bullets with %s and wrapped lines', (sign) => {
    const job = parseJob(`Developer\n\nRequirements\n${sign} 3+ years of\n    Python\n${sign} Kafka, ideally`)
    expect(job.requirements.map((entry) => `${entry.kind} ${entry.short}`)).toEqual([
      'must Python, 3+ years',
      'nice Kafka',
    ])
  })
  it('read title, company and place from the usual first lines', () => {
    const header = (lines: string) => parseJob(`${lines}\n\nRequirements\n- SQL`)
    expect(header('Senior Data Analyst at Orion Bank\nLocation: Porto')).toMatchObject({
      title: 'Senior Data Analyst',
      company: 'Orion Bank',
      location: 'Porto',
      seniority: 'senior',
    })
    expect(header('Orion Bank is hiring: Data Analyst')).toMatchObject({ title: 'Data Analyst', company: 'Orion Bank' })
    expect(header('Data Analyst (m/f/d)\nCompany: Orion Bank')).toMatchObject({
      title: 'Data Analyst',
      company: 'Orion Bank',
    })
  })
  it('find requirements in running text without headings', () => {
    expect(
      shorts(
        'Developer at Acme\nOur office is green. You must have 3 years of Python and you know Docker. We pay well.',
      ),
    ).toEqual(['must Python, 3+ years', 'must Docker, 3+ years'])
  })
  it('read our own JSON', () => {
    const own = {
      title: 'Nurse',
      company: 'Clinic',
      requirements: ['Wound care', { text: 'German (B2)', kind: 'nice' }],
    }
    expect(shorts(own)).toEqual(['must wound care', 'nice German, B2'])
    expect(parseJob(own).text).toContain('Nice to have:\n- German (B2)')
  })
  it.each([
    ['nothing', '  ', /empty/],
    ['broken JSON', '{"title": ', /not valid/],
    ['a number', 7, /job post/],
    ['no title', { requirements: ['SQL'] }, /title/],
    ['no requirements', { title: 'A', requirements: [] }, /requirements/],
    ['a wrong kind', { title: 'A', requirements: [{ text: 'SQL', kind: 'maybe' }] }, /requirements\.0/],
    ['a posting without title', { '@type': 'JobPosting', description: 'x' }, /title is missing/],
    [
      'a posting with a wrong description',
      { '@type': 'JobPosting', title: 'x', description: 7 },
      /description is no string/,
    ],
    ['a text that asks for nothing', 'Hello world', /no requirement found/],
  ])('refuse %s', (_, input, message) => {
    expect(() => parseJob(input)).toThrow(InputError)
    expect(() => parseJob(input)).toThrow(message)
  })
})

describe('htmlToText', () => {
  it('keeps structure, drops scripts, decodes entities', () => {
    expect(htmlToText('<p>A&nbsp;&amp; B</p><script>x()</script><ul><li>one</li><li>two &#8211; three</li></ul>')).toBe(
      'A & B\n\n- one\n\n- two – three',
    )
    expect(htmlToText('&lt;p&gt;twice&lt;/p&gt;')).toBe('twice')
    expect(htmlToText('a < b and c > d')).toBe('a < b and c > d')
  })
})

describe('profiles', () => {
  it('read the sample of JSON Resume', () => {
    const profile = parseProfile(resume, { now })
    expect(profile).toMatchObject({
      name: 'Richard Hendriks',
      headline: 'Programmer',
      languages: [{ language: 'English', level: 'native' }],
    })
    expect(profile.skills.map((skill) => skill.name)).toEqual(
      expect.arrayContaining(['HTML', 'CSS', 'Javascript', 'Compression']),
    )
    expect(profile.experience[0]).toMatchObject({
      title: 'CEO/President',
      company: 'Pied Piper',
      start: '2013-12',
      end: '2014-12',
      years: 1.1,
    })
    expect(profile.education[0]).toMatchObject({
      rank: 2,
      subject: 'Information Technology',
      school: 'University of Oklahoma',
    })
    const job = parseJob(
      "Web Developer\n\nRequirements\n- JavaScript\n- Java\n- Bachelor's degree in Computer Science\n- Fluent English",
    )
    const assessment = assess(job, profile)
    expect(assessment.findings.map((entry) => entry.status)).toEqual(['met', 'notMet', 'met', 'met'])
    for (const { evidence } of assessment.findings) expect(profile.text).toContain(evidence?.quote ?? '')
    expect(fitPrompt(job, profile).user).toContain("Degree: Bachelor's degree in Information Technology")
    expect(parseProfile(JSON.stringify(resume), { now })).toEqual(profile)
  })
  it.each([
    'Nurse, St. Mary (03/2018 - 05/2021)',
    'Nurse at St. Mary, Mar 2018 – May 2021',
    'March 2018 to May 2021: Nurse, St. Mary',
    'St. Mary\nNurse | 2018-03 - 2021-05',
    'Nurse\nSt. Mary\n03/2018 — 05/2021',
  ])('read the employment "%s"', (entry) => {
    const profile = parseProfile(`Jo Doe\nNurse\n\nWork experience\n${entry}\n- Wound care\n\nEducation\nBSc Nursing`, {
      now,
    })
    expect(profile.experience).toMatchObject([
      { title: 'Nurse', company: 'St. Mary', start: '2018-03', end: '2021-05', years: 3.3, highlights: ['Wound care'] },
    ])
  })
  it('read our own JSON, and the text rendered from it gives the same profile', () => {
    const own = {
      name: 'Jo Doe',
      headline: 'Accountant',
      skills: [{ name: 'DATEV', years: 4 }, 'Excel'],
      experience: [
        { title: 'Accountant', company: 'Falk', start: '2020-01', end: 'present', highlights: ['Month-end closing'] },
      ],
      education: ["Bachelor's degree in Finance"],
      languages: [{ language: 'German', level: 'native' }, 'English (B2)'],
      certificates: ['ACCA'],
    }
    const profile = parseProfile(own, { now })
    expect(profile.experience[0]).toMatchObject({ years: 5.5, skills: ['month-end closing'] })
    expect(parseProfile(profile.text, { now })).toEqual(profile)
  })
  it.each([
    ['nothing', '', /empty/],
    ['broken JSON', '{"name"', /not valid/],
    ['null', null, /neither JSON Resume/],
    ['an empty object', {}, /fill in at least one/],
    ['a wrong date', { experience: [{ title: 'A', start: 'soon' }] }, /experience\.0\.start/],
    ['a wrong JSON Resume', { basics: { name: 7 } }, /basics\.name/],
  ])('refuse %s', (_, input, message) => {
    expect(() => parseProfile(input, { now })).toThrow(InputError)
    expect(() => parseProfile(input, { now })).toThrow(message)
  })
})

describe('unknown requirements', () => {
  it('take the evidence into the prompt, so that a small model can repeat it', () => {
    const job = parseJob('Beekeeper at Apiary\n\nRequirements\n- Queen rearing\n- Driving licence')
    const profile = parseProfile('Jo Doe\nGardener\n\nSummary\nQueen rearing since childhood.', { now })
    const [finding] = assess(job, profile).findings
    expect(finding).toMatchObject({ status: 'met', evidence: { phrase: 'Queen rearing' } })
    expect(fitPrompt(job, profile).user).toContain('Shown: Queen rearing')
  })
})
