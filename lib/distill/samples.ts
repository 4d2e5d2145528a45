import { ArgumentError } from '../errors.js'
import type { PairSample } from '../fit/dataset.js'
import { type FitPrompt, splitPrompt } from '../fit/prompt.js'
import type { FitLevel } from '../fit/rubric.js'
import type { ModelConfig } from '../models/config.js'
import { encodeChat, encodeChatSample } from '../text/chat.js'
import type { ChatMessage } from '../text/chatTemplate.js'
import type { Tokenizer } from '../text/tokenizer.js'
import { joined, type Sample } from '../train/batches.js'

/** The classes of a fit classifier, in the order of its logits. */
export const LEVELS: readonly FitLevel[] = ['low', 'medium', 'high']

/** The column of every level among a classifier's logits, in the order of LEVELS; null where its labels are not those of a fit. */
export function levelColumns({ id2label = [] }: Pick<ModelConfig, 'id2label'>): number[] | null {
  const labels = id2label.map((name) => name.toLowerCase())
  const columns = LEVELS.map((level) => labels.indexOf(level))
  return labels.length === LEVELS.length && !columns.includes(-1) ? columns : null
}

const messages = (prompt: FitPrompt): ChatMessage[] => [
  { role: 'system', content: prompt.system },
  { role: 'user', content: prompt.user },
]

/** Token ids that an explanation is generated from. */
export function explanationPrompt(tokenizer: Tokenizer, prompt: FitPrompt): Int32Array {
  return encodeChat(tokenizer, messages(prompt), { addGenerationPrompt: true })
}

/** A training sample of an explanation: only the explanation and the end of its turn carry labels. */
export function explanationSample(tokenizer: Tokenizer, prompt: FitPrompt, explanation: string): Sample {
  return encodeChatSample(tokenizer, [...messages(prompt), { role: 'assistant', content: explanation }])
}

/**
 * What a classifier reads of a prompt: one sequence of token ids, or for two towers two, the job post's and the profile's. A causal model with
 * a chat template is given the explainer's turn, any other plain text with the tokens that its tokenizer puts around one ([CLS] and [SEP],
 * say).
 * @throws InputError for two towers and a prompt that `fitPrompt` did not make
 */
export function classifierPrompt(tokenizer: Tokenizer, config: ModelConfig, prompt: FitPrompt): Int32Array[] {
  const encode = (user: string) =>
    config.causal && tokenizer.chatTemplate
      ? explanationPrompt(tokenizer, { ...prompt, user })
      : plainText(tokenizer, config, `${prompt.system}\n\n${user}`)
  if (!config.twoTower) return [encode(prompt.user)]
  const { job, profile } = splitPrompt(prompt)
  return [encode(job), encode(profile)]
}

/** Where the last token is pooled it must be the same for all texts: the tokenizer's own, else the end of text, as gte was trained. */
function plainText(tokenizer: Tokenizer, { pooling = 'last' }: ModelConfig, text: string): Int32Array {
  const ids = tokenizer.encode(text, { parseSpecialTokens: false })
  const { eosTokenId } = tokenizer
  if (pooling !== 'last' || eosTokenId === null || tokenizer.isSpecial(ids.at(-1) ?? -1)) return ids
  return Int32Array.of(...ids, eosTokenId)
}

/** What a sample of the classifier is told besides its prompt. */
export interface LevelSampleOptions {
  /** Learn the probabilities that the pair carries, in place of its level. */
  softLabels?: boolean
}

/**
 * A training sample of the classifier.
 * @throws ArgumentError when soft labels are asked for and the pair has none
 */
export function levelSample(
  tokenizer: Tokenizer,
  config: ModelConfig,
  pair: Pick<PairSample, 'id' | 'prompt' | 'level' | 'probabilities'>,
  { softLabels = false }: LevelSampleOptions = {},
): Sample {
  const { id, prompt, level, probabilities } = pair
  if (softLabels && !probabilities)
    throw new ArgumentError(
      `softLabels: the pair ${id} has no probabilities; write them with lantern soft-labels, or train on the levels`,
    )
  const soft = softLabels && probabilities ? { probabilities: LEVELS.map((l) => probabilities[l]) } : {}
  return { ...joined(classifierPrompt(tokenizer, config, prompt)), label: LEVELS.indexOf(level), ...soft }
}
