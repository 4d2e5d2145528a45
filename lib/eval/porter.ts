/**
 * Porter stemmer with the NLTK extensions, the one that `rouge_score` uses.
 *
 * Source: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with these deviations: a table of
 * irregular forms; four-letter "ies" and "ied" words keep "ie"; y becomes i only after a consonant that is not the first
 * letter; "bli" instead of "abli"; "alli" first and again; "fulli" and "logi"; a two-letter vowel-consonant stem counts
 * as consonant-vowel-consonant.
 */

const IRREGULAR = new Map([
  ['sky', 'sky'],
  ['skies', 'sky'],
  ['dying', 'die'],
  ['lying', 'lie'],
  ['tying', 'tie'],
  ['news', 'news'],
  ['innings', 'inning'],
  ['inning', 'inning'],
  ['outings', 'outing'],
  ['outing', 'outing'],
  ['cannings', 'canning'],
  ['canning', 'canning'],
  ['howe', 'howe'],
  ['proceed', 'proceed'],
  ['exceed', 'exceed'],
  ['succeed', 'succeed'],
])

/** Suffix, what replaces it, and (where it differs from the step's own) the condition on the remaining stem. */
type Rule = readonly [suffix: string, replacement: string, condition?: (stem: string) => boolean]

/** True per letter for consonants: not a, e, i, o, u, and y only where the letter before is no consonant. */
function consonants(word: string): boolean[] {
  const flags: boolean[] = []
  for (let i = 0; i < word.length; i++) {
    const letter = word[i]!
    flags.push(letter === 'y' ? i === 0 || !flags[i - 1] : !'aeiou'.includes(letter))
  }
  return flags
}

/** Porter's m: the number of vowel-to-consonant transitions. */
function measure(stem: string): number {
  const flags = consonants(stem)
  let m = 0
  for (let i = 1; i < flags.length; i++) if (flags[i] && !flags[i - 1]) m++
  return m
}

const hasMeasure = (stem: string): boolean => measure(stem) > 0
const hasLongMeasure = (stem: string): boolean => measure(stem) > 1
const hasVowel = (stem: string): boolean => consonants(stem).includes(false)

function endsInDoubleConsonant(word: string): boolean {
  return word.length >= 2 && word.at(-1) === word.at(-2) && consonants(word).at(-1) === true
}

/** Porter's *o: ends consonant-vowel-consonant and not in w, x or y; or is a vowel and a consonant alone. */
function endsInShortSyllable(word: string): boolean {
  const flags = consonants(word)
  const n = word.length
  if (n === 2) return !flags[0] && flags[1]!
  return n >= 3 && flags[n - 3]! && !flags[n - 2] && flags[n - 1]! && !'wxy'.includes(word[n - 1]!)
}

/** Applies the first rule whose suffix fits; if its condition fails the word stays, later rules are not tried. */
function applyFirst(word: string, rules: readonly Rule[], condition: (stem: string) => boolean): string {
  for (const [suffix, replacement, own] of rules) {
    if (!word.endsWith(suffix)) continue
    const stem = word.slice(0, word.length - suffix.length)
    return (own ?? condition)(stem) ? stem + replacement : word
  }
  return word
}

function stripPlural(word: string): string {
  if (word.endsWith('sses')) return word.slice(0, -2)
  if (word.endsWith('ies')) return word.length === 4 ? word.slice(0, -1) : word.slice(0, -2)
  return word.endsWith('s') && !word.endsWith('ss') ? word.slice(0, -1) : word
}

function stripPastAndGerund(word: string): string {
  if (word.endsWith('ied')) return word.length === 4 ? word.slice(0, -1) : word.slice(0, -2)
  if (word.endsWith('eed')) return hasMeasure(word.slice(0, -3)) ? word.slice(0, -1) : word
  const cut = word.endsWith('ed') ? 2 : word.endsWith('ing') ? 3 : 0
  if (cut === 0) return word
  const stem = word.slice(0, -cut)
  if (!hasVowel(stem)) return word
  if (stem.endsWith('at') || stem.endsWith('bl') || stem.endsWith('iz')) return `${stem}e`
  if (endsInDoubleConsonant(stem)) return 'lsz'.includes(stem.at(-1)!) ? stem : stem.slice(0, -1)
  return measure(stem) === 1 && endsInShortSyllable(stem) ? `${stem}e` : stem
}

function yToI(word: string): string {
  if (!word.endsWith('y') || word.length < 3) return word
  return consonants(word)[word.length - 2] ? `${word.slice(0, -1)}i` : word
}

const DOUBLE_SUFFIXES: readonly Rule[] = [
  ['ational', 'ate'],
  ['tional', 'tion'],
  ['enci', 'ence'],
  ['anci', 'ance'],
  ['izer', 'ize'],
  ['bli', 'ble'],
  ['alli', 'al'],
  ['entli', 'ent'],
  ['eli', 'e'],
  ['ousli', 'ous'],
  ['ization', 'ize'],
  ['ation', 'ate'],
  ['ator', 'ate'],
  ['alism', 'al'],
  ['iveness', 'ive'],
  ['fulness', 'ful'],
  ['ousness', 'ous'],
  ['aliti', 'al'],
  ['iviti', 'ive'],
  ['biliti', 'ble'],
  ['fulli', 'ful'],
  ['logi', 'log', (stem) => hasMeasure(`${stem}l`)], // the l counts as stem, so that geo-logi behaves as archaeo-logi
]

function mapDoubleSuffix(word: string): string {
  if (word.endsWith('alli') && hasMeasure(word.slice(0, -4))) return mapDoubleSuffix(word.slice(0, -2))
  return applyFirst(word, DOUBLE_SUFFIXES, hasMeasure)
}

const ADJECTIVE_SUFFIXES: readonly Rule[] = [
  ['icate', 'ic'],
  ['ative', ''],
  ['alize', 'al'],
  ['iciti', 'ic'],
  ['ical', 'ic'],
  ['ful', ''],
  ['ness', ''],
]

const BARE_SUFFIXES: readonly Rule[] = [
  ...['al', 'ance', 'ence', 'er', 'ic', 'able', 'ible', 'ant', 'ement', 'ment', 'ent'].map((s): Rule => [s, '']),
  ['ion', '', (stem) => hasLongMeasure(stem) && /[st]$/.test(stem)],
  ...['ou', 'ism', 'ate', 'iti', 'ous', 'ive', 'ize'].map((s): Rule => [s, '']),
]

function tidyEnd(word: string): string {
  let stem = word
  if (stem.endsWith('e')) {
    const bare = stem.slice(0, -1)
    const m = measure(bare)
    if (m > 1 || (m === 1 && !endsInShortSyllable(bare))) stem = bare
  }
  return stem.endsWith('ll') && hasLongMeasure(stem.slice(0, -1)) ? stem.slice(0, -1) : stem
}

/**
 * Stem of one word, e.g. `matching` -> `match`.
 * @param word lower-case letters and digits, as `tokenizeForRouge` produces them; one or two letters come back unchanged
 */
export function porterStem(word: string): string {
  const irregular = IRREGULAR.get(word)
  if (irregular !== undefined) return irregular
  if (word.length <= 2) return word
  let stem = mapDoubleSuffix(yToI(stripPastAndGerund(stripPlural(word))))
  stem = applyFirst(stem, ADJECTIVE_SUFFIXES, hasMeasure)
  stem = applyFirst(stem, BARE_SUFFIXES, hasLongMeasure)
  return tidyEnd(stem)
}
