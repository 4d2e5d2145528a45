/** Months of employment: reading dates, lengths, and the union of overlapping periods. */

/** A month as `year * 12 + month` with January 0; periods are [from, to). */
export type Period = { from: number; to: number }

const monthNames = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const openEnd = /^(?:present|now|today|current|currently|ongoing|to date|date)$/i

const month = String.raw`(?:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?,?\s+)?`
const point = String.raw`(?:(?:19|20)\d\d-\d{1,2}(?:-\d{1,2})?|\d{1,2}[/.](?:19|20)\d\d|${month}(?:19|20)\d\d)`
const range = new RegExp(
  String.raw`(?<![\d/.])(${point})\s*(?:-|–|—|to|until|till)\s*(${point}|present|now|today|current|currently|ongoing|to date)(?!\d)`,
  'i',
)
const since = new RegExp(String.raw`\bsince\s+(${point})(?!\d)`, 'i')

/** One date in any usual spelling as `YYYY-MM`, `YYYY` or `present`; undefined when it is none. */
export function readDate(text: string): string | undefined {
  const value = text.trim()
  if (openEnd.test(value)) return 'present'
  const iso = /^((?:19|20)\d\d)(?:-(\d{1,2}))?(?:-\d{1,2})?(?:T.*)?$/.exec(value)
  if (iso) return isoMonth(iso[1]!, iso[2])
  const slash = /^(\d{1,2})[/.]((?:19|20)\d\d)$/.exec(value)
  if (slash) return isoMonth(slash[2]!, slash[1])
  const named = /^([a-z]{3})[a-z]*\.?,?\s+((?:19|20)\d\d)$/i.exec(value)
  const index = named ? monthNames.indexOf(named[1]!.toLowerCase()) : -1
  return named && index >= 0 ? isoMonth(named[2]!, String(index + 1)) : undefined
}

function isoMonth(year: string, monthNumber: string | undefined): string | undefined {
  if (monthNumber === undefined) return year
  const value = Number(monthNumber)
  return value >= 1 && value <= 12 ? `${year}-${String(value).padStart(2, '0')}` : undefined
}

/** The first period named in a line ("03/2018 - present", "since 2019") and the text around it. */
export function findRange(line: string): { start: string; end: string; rest: string } | undefined {
  const found = range.exec(line) ?? since.exec(line)
  if (!found) return undefined
  const start = readDate(found[1]!)
  const end = found[2] === undefined ? 'present' : readDate(found[2])
  if (start === undefined || end === undefined) return undefined
  const rest = `${line.slice(0, found.index)} ${line.slice(found.index + found[0].length)}`
  return {
    start,
    end,
    rest: rest
      .replace(/[([]\s*[)\]]/g, ' ')
      .replace(/\s+/g, ' ')
      .trim(),
  }
}

/**
 * A period from two dates. A month named as the end is worked through (Jan 2018 to Dec 2020 is 3 years); a bare year as
 * the end counts to its January (2018 to 2021 is 3 years).
 * @param asOf `YYYY-MM`, what `present` means
 */
export function toPeriod(start: string, end: string, asOf: string): Period {
  const number = (date: string) => Number(date.slice(0, 4)) * 12 + (date.length > 4 ? Number(date.slice(5, 7)) - 1 : 0)
  const last = end === 'present' ? asOf : end
  const from = number(start)
  const to = number(last) + (last.length > 4 ? 1 : 0)
  return { from, to: Math.max(to, from) }
}

/** Months covered by at least one of the periods. */
export function unionMonths(periods: readonly Period[]): number {
  let covered = 0
  let reached = Number.NEGATIVE_INFINITY
  for (const { from, to } of [...periods].sort((a, b) => a.from - b.from)) {
    covered += Math.max(0, to - Math.max(from, reached))
    reached = Math.max(reached, to)
  }
  return covered
}
