import { Template } from '@huggingface/jinja'
import { ChatTemplateError } from '../errors.js'

/** One turn of a conversation. */
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant'
  content: string
}

/** A compiled Jinja chat template with the variables that Hugging Face templates expect. */
export class ChatTemplate {
  private readonly template: Template

  /**
   * @param source Jinja text
   * @param variables bos_token, eos_token and the like
   * @throws ChatTemplateError when it does not compile
   */
  constructor(
    readonly source: string,
    private readonly variables: Record<string, unknown> = {},
  ) {
    try {
      this.template = new Template(source)
    } catch (cause) {
      throw new ChatTemplateError(
        'CHAT_TEMPLATE_SYNTAX',
        `The chat template does not compile (${cause instanceof Error ? cause.message : cause}); correct chat_template in tokenizer_config.json or chat_template.jinja.`,
        { cause },
      )
    }
  }

  /** The template, or the error that says there is none. */
  static require(template: ChatTemplate | null): ChatTemplate {
    if (template) return template
    throw new ChatTemplateError(
      'CHAT_TEMPLATE_MISSING',
      'The tokenizer has no chat template; add chat_template to tokenizer_config.json or a chat_template.jinja, or use the instruction-tuned model.',
    )
  }

  /**
   * Text of a conversation.
   * @throws ChatTemplateError when the template refuses the messages or fails on them
   */
  render(
    messages: readonly ChatMessage[],
    addGenerationPrompt = false,
    variables: Record<string, unknown> = {},
  ): string {
    try {
      return this.template.render({
        ...this.variables,
        ...variables,
        messages,
        add_generation_prompt: addGenerationPrompt,
      })
    } catch (cause) {
      throw new ChatTemplateError(
        'CHAT_TEMPLATE_RENDER',
        `The chat template refuses these messages (${cause instanceof Error ? cause.message : cause}); check the order of their roles.`,
        { cause },
      )
    }
  }
}
