import { ChatTemplateError } from '../errors.js'
import { type ChatMessage, ChatTemplate } from './chatTemplate.js'
import type { ChatTemplateOptions, Tokenizer } from './tokenizer.js'

/** Label of a position that teaches nothing. */
export const IGNORE_INDEX = -100

/** A conversation ready for training. */
export interface ChatSample {
  /** [tokens] */
  ids: Int32Array
  /** [tokens], already shifted: `labels[i]` is the token to predict at position i, or IGNORE_INDEX. */
  labels: Int32Array
}

/**
 * A character that occurs in none of the messages: it marks, through the template, where special tokens spelled out in
 * a message are cut apart.
 */
function unusedCharacter(messages: readonly ChatMessage[]): string {
  for (let code = 0xe000; code < 0xf900; code++) {
    const char = String.fromCharCode(code)
    if (!messages.some((message) => message.content.includes(char))) return char
  }
  throw new ChatTemplateError(
    'CHAT_CONTENT',
    'The messages use every private-use character of Unicode; pass text, not binary data.',
  )
}

/** Renders conversations such that nothing inside a message can end its turn or open another. */
class LiteralRenderer {
  private readonly cut: string
  private readonly messages: ChatMessage[]
  private readonly template: ChatTemplate

  constructor(
    private readonly tokenizer: Tokenizer,
    messages: readonly ChatMessage[],
    private readonly variables: Record<string, unknown> = {},
  ) {
    this.template = ChatTemplate.require(tokenizer.chatTemplate)
    this.cut = unusedCharacter(messages)
    this.messages = messages.map((message) => ({ ...message, content: this.defuse(message.content) }))
  }

  /** Text of the first `count` messages. */
  render(count: number, addGenerationPrompt: boolean): string {
    return this.template.render(this.messages.slice(0, count), addGenerationPrompt, this.variables)
  }

  encode(text: string): number[] {
    return text.split(this.cut).flatMap((part) => Array.from(this.tokenizer.encode(part, { addSpecialTokens: false })))
  }

  private defuse(content: string): string {
    return this.tokenizer.splitInsideSpecialTokens(content).join(this.cut)
  }
}

/**
 * Token ids of a conversation, [tokens]. Special tokens spelled out inside a message stay plain characters, so that text
 * from outside cannot act as another role.
 * @throws ChatTemplateError when there is no template or it refuses the messages
 */
export function encodeChat(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions = {},
): Int32Array {
  const renderer = new LiteralRenderer(tokenizer, messages, options.variables)
  return Int32Array.from(renderer.encode(renderer.render(messages.length, options.addGenerationPrompt ?? false)))
}

/**
 * Token ids and shifted labels of a conversation to learn from. Only what an assistant says and the token that closes
 * its turn carry labels. Every assistant turn is split off where generation would start, so its first token is the one
 * that the model has to produce when it serves.
 * @throws ChatTemplateError when no message is the assistant's, or the template rewrites earlier turns, which leaves no
 *   position that the prompt ends at
 */
export function encodeChatSample(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: Pick<ChatTemplateOptions, 'variables'> = {},
): ChatSample {
  if (!messages.some((message) => message.role === 'assistant')) {
    throw new ChatTemplateError(
      'CHAT_NO_ASSISTANT',
      'The conversation has no assistant message, so there is nothing to learn; add one or drop the sample.',
    )
  }
  const renderer = new LiteralRenderer(tokenizer, messages, options.variables)
  const ids: number[] = []
  const targets: boolean[] = []
  let done = ''
  const append = (text: string, isAnswer: boolean): void => {
    if (!text.startsWith(done)) {
      throw new ChatTemplateError(
        'CHAT_TEMPLATE_UNSTABLE',
        'The chat template renders the start of a conversation differently once more messages follow, so answers cannot be told from prompts; use a template that only appends.',
      )
    }
    const fresh = renderer.encode(text.slice(done.length))
    const close = fresh.findIndex((id) => tokenizer.isSpecial(id))
    const answerEnd = !isAnswer ? 0 : close < 0 ? fresh.length : close + 1
    for (const [i, id] of fresh.entries()) {
      ids.push(id)
      targets.push(i < answerEnd)
    }
    done = text
  }
  for (const [i, message] of messages.entries()) {
    if (message.role !== 'assistant') continue
    append(renderer.render(i, true), false)
    append(renderer.render(i + 1, false), true)
  }
  append(renderer.render(messages.length, false), false)

  const labels = new Int32Array(ids.length).fill(IGNORE_INDEX)
  for (let i = 0; i + 1 < ids.length; i++) if (targets[i + 1]) labels[i] = ids[i + 1]!
  return { ids: Int32Array.from(ids), labels }
}
