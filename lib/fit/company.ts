/** Names of employers for generated profiles and the corpus: half of them are invented, so that models copy names and do not remember them. */
import type { Random } from '../random.js'

const onsets = 'b br c ch d dr f fl g gr h j k kl l m n p pl qu r s sch st t tr v w z'.split(' ')
const vowels = 'a a a e e e i i o o u ei ö'.split(' ')
const codas = 'ck d g k l ll m n nd nn r rd rn rt s st t x'.split(' ')
const endings =
  'AG Bank Care Co-op Consulting Digital Energy Foods Gastro GmbH Group Health Holding Hotels Industries Labs Logistics Ltd Media Partners Services Software Solutions Systems Trading Works'.split(
    ' ',
  )

/** One of the known names, or an invented one of one to three words. */
export function pickCompany(known: readonly string[], random: Random): string {
  if (random.chance(0.5)) return random.pick(known)
  const rest = random.float()
  if (rest < 0.3) return word(random)
  if (rest < 0.7) return `${word(random)} ${random.pick(endings)}`
  return random.chance(0.5) ? `${word(random)} ${word(random)}` : `${word(random)} & ${word(random)}`
}

/** A capitalised word of two syllables, now and then three. */
function word(random: Random): string {
  const count = random.chance(0.8) ? 2 : 3
  const syllables = Array.from({ length: count }, (_, i) => {
    const onset = i === 0 && random.chance(0.25) ? '' : random.pick(onsets)
    const coda = random.chance(i === count - 1 ? 0.6 : 0.25) ? random.pick(codas) : ''
    return onset + random.pick(vowels) + coda
  })
  const joined = syllables.join('')
  return joined.charAt(0).toUpperCase() + joined.slice(1)
}
