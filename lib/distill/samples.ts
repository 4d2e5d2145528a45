import type { FitPrompt } from '../fit/prompt.js'
import type { FitLevel } from '../fit/rubric.js'
import { encodeChat, encodeChatSample } from '../text/chat.js'
import type { ChatMessage } from '../text/chatTemplate.js'
import type { Tokenizer } from '../text/tokenizer.js'
import type { Sample } from '../train/batches.js'

/** The classes of a fit classifier, in the order of its logits. */
export const LEVELS: readonly FitLevel[] = ['low', 'medium', 'high']

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

/** What a classifier sees: the same prompt as the explainer, pooled at its last token. */
export const classifierPrompt = explanationPrompt

/** A training sample of the classifier. */
export function levelSample(tokenizer: Tokenizer, prompt: FitPrompt, level: FitLevel): Sample {
  return { ids: classifierPrompt(tokenizer, prompt), labels: new Int32Array(0), label: LEVELS.indexOf(level) }
}
