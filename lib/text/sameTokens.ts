import { TokenizerError } from '../errors.js'
import type { Tokenizer } from './tokenizer.js'

/** A tokenizer, and what to call it in a message. */
export interface NamedTokenizer {
  name: string
  tokenizer: Tokenizer
}

/**
 * Checks that every id means the same token on both sides, as a divergence needs that compares probabilities id by id.
 * @throws TokenizerError TOKENIZER_MISMATCH naming the first id that differs and what it is on either side
 */
export function requireSameTokens(student: NamedTokenizer, teacher: NamedTokenizer): void {
  const [own, other] = [tokensById(student.tokenizer), tokensById(teacher.tokenizer)]
  const ids = Math.max(own.length, other.length)
  for (let id = 0; id < ids; id++) {
    if (own[id] === other[id]) continue
    const sizes = own.length === other.length ? '' : ` (they have ${other.length} and ${own.length} ids)`
    throw new TokenizerError(
      'TOKENIZER_MISMATCH',
      `token ${id} is ${quote(other[id])} of the teacher ${teacher.name} but ${quote(own[id])} of ${student.name}${sizes}; distil between models that share a tokenizer, or train the student on the labels alone with lantern train`,
    )
  }
}

function tokensById(tokenizer: Tokenizer): (string | undefined)[] {
  const tokens: (string | undefined)[] = new Array(tokenizer.vocabSize)
  for (const [token, id] of tokenizer.vocabulary()) tokens[id] = token
  return tokens
}

const quote = (token: string | undefined): string => (token === undefined ? 'no token' : JSON.stringify(token))
