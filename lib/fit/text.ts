/** Plain text out of HTML and out of lines: sections under headings, bullets, sentences. */

/** A line of a section: its text without the bullet sign, and whether it had one. */
export type Line = { text: string; bullet: boolean }

/** Lines under one heading; the heading is undefined for what stands before the first. */
export type Section<K extends string> = { kind: K; heading?: string; lines: Line[] }

const entities: Record<string, string> = {
  amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ', bull: '•', ndash: '–', mdash: '—', rsquo: '’', lsquo: '‘',
  ldquo: '“', rdquo: '”', hellip: '…', euro: '€', auml: 'ä', ouml: 'ö', uuml: 'ü', Auml: 'Ä', Ouml: 'Ö', Uuml: 'Ü',
  szlig: 'ß', eacute: 'é', egrave: 'è', middot: '·',
} // biome-ignore format: a table of entities reads best flat

function decodeEntities(text: string): string {
  return text.replace(/&(#x[\da-f]+|#\d+|\w+);/gi, (whole, name: string) => {
    if (!name.startsWith('#')) return entities[name] ?? whole
    const code = /^#x/i.test(name) ? Number.parseInt(name.slice(2), 16) : Number.parseInt(name.slice(1), 10)
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}

/** HTML (or plain text) to plain text: block tags break lines, list items become "- ", entities are decoded. */
export function htmlToText(html: string): string {
  const escaped = /&lt;(?:p|ul|li|br|div|h\d|strong)\b/i.test(html) && !/<\w+/.test(html)
  const source = escaped ? decodeEntities(html) : html // some feeds escape their mark-up once more
  if (!/<\/?[a-z][^<>]*>/i.test(source)) return normalise(decodeEntities(source))
  const text = source
    .replace(/<(script|style)\b[\s\S]*?<\/\1\s*>/gi, ' ')
    .replace(/<!--[\s\S]*?-->/g, ' ')
    .replace(/\s+/g, ' ')
    .replace(/<li\b[^<>]*>/gi, '\n- ')
    .replace(/<(?:strong|b)\b[^<>]*>([^<]{1,60})<\/(?:strong|b)>\s*:?\s*(?=<(?:br|\/p|ul|ol))/gi, '\n$1:\n')
    .replace(/<h[1-6]\b[^<>]*>([\s\S]*?)<\/h[1-6]>/gi, (_, title: string) => `\n\n## ${title.trim()}\n`)
    .replace(/<\/?(?:p|div|ul|ol|br|tr|table|section|article|header|footer|li)\b[^<>]*>/gi, '\n')
    .replace(/<[^<>]+>/g, '')
  return normalise(decodeEntities(text))
}

/** Line ends, spaces and invisible characters made uniform; at most eight spaces and one empty line in a row. */
export function normalise(text: string): string {
  return text
    .replace(/\r\n?/g, '\n')
    .replace(/\u200b|\u200c|\u200d|\ufeff|\u00ad/g, '')
    .replace(/[^\S\n]/g, ' ')
    .replace(/ {9,}/g, ' '.repeat(8)) // patterns further on take time quadratic in the length of a run
    .replace(/[ ]+$/gm, '')
    .replace(/\n{3,}/g, '\n\n')
    .trim()
}

const bulletSign = /^\s*(?:[-*•–·▪●‣◦+✓✔➤]|\(?\d{1,2}[.)])\s+(?=\S)/

/** One line without its bullet sign. */
export function readLine(line: string): Line {
  const bullet = bulletSign.test(line)
  return { text: line.replace(bulletSign, '').trim(), bullet }
}

/** The bare words of a heading: no mark-up, no colon, lower case, straight apostrophes. */
export function headingWords(line: string): string {
  return line
    .replace(/^[#*=_\s]+|[#*=_:\s]+$/g, '')
    .replace(/[’`]/g, "'")
    .toLowerCase()
}

/** True for lines that look like a heading whatever they say: "## X", "**X**", "X:" or "X IN CAPITALS", at most 7 words. */
export function looksLikeHeading(line: string): boolean {
  const trimmed = line.trim()
  if (trimmed.split(/\s+/).length > 7 || bulletSign.test(line) || !/\p{L}/u.test(trimmed)) return false
  if (/^#{1,6}\s+\S/.test(trimmed) || /^\*\*[^*]+\*\*:?$/.test(trimmed) || /:$/.test(trimmed)) return true
  return trimmed === trimmed.toUpperCase() && trimmed.replace(/[^\p{L}]/gu, '').length > 6 && !/[.,]$/.test(trimmed)
}

/**
 * Cuts text into sections.
 * @param classify the kind of a heading by its bare words, or undefined when the words are no heading known to the caller
 * @param other the kind of text under unknown headings and before the first heading
 */
export function readSections<K extends string>(
  text: string,
  classify: (words: string) => K | undefined,
  other: K,
): Section<K>[] {
  const sections: Section<K>[] = [{ kind: other, lines: [] }]
  for (const raw of text.split('\n')) {
    if (!raw.trim()) continue
    const lines = sections.at(-1)!.lines
    const inline = /^\s*([\p{L}][^:.]{2,40}):\s+(\S.*)$/u.exec(raw)
    const inlineKind = inline && !bulletSign.test(raw) ? classify(headingWords(inline[1]!)) : undefined
    const known = bulletSign.test(raw) ? undefined : classify(headingWords(raw))
    if (known !== undefined || looksLikeHeading(raw)) {
      sections.push({ kind: known ?? other, heading: raw.trim(), lines: [] })
    } else if (inline && inlineKind !== undefined) {
      sections.push({ kind: inlineKind, heading: inline[1]!, lines: [readLine(inline[2]!)] })
    } else if (/^\s{2,}\S/.test(raw) && !bulletSign.test(raw) && lines.at(-1)?.bullet) {
      lines.at(-1)!.text += ` ${raw.trim()}` // a wrapped bullet
    } else lines.push(readLine(raw))
  }
  return sections
}

/** Sentences of running text; "e.g.", "Node.js" and "B.Sc." end none. */
export function sentences(text: string): string[] {
  return text
    .split(/(?<!\b(?:e\.g|i\.e|etc|approx|incl|B\.Sc|M\.Sc|Dr|St|vs|No))(?<=[.!?;])\s+(?=[\p{Lu}\d"“])/u)
    .map((sentence) => sentence.trim())
    .filter(Boolean)
}

/** Number of whitespace-separated words. */
export function countWords(text: string): number {
  return text.split(/\s+/).filter(Boolean).length
}
