import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { TokenizerError } from '../errors.js'
import { writeFileAtomic } from '../files.js'
import type { TokenizerFiles, TokenizerJson } from './tokenizerFiles.js'

/** ChatML, the turn format of the Qwen family, without a default system prompt. */
export const CHATML_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/** What tokenizer_config.json says besides the vocabulary. */
export interface TokenizerConfigOptions {
  /** Ends a turn and stops generation, default `<|im_end|>`. */
  eosToken?: string
  /** Default `<|endoftext|>`. */
  padToken?: string
  /** Longest sequence of the model that this belongs to, in tokens, default 32,768. */
  modelMaxLength?: number
  /** Jinja source, default CHATML_TEMPLATE. */
  chatTemplate?: string
}

/**
 * Completes a trained tokenizer.json to what a model folder holds; pass it to `new Tokenizer` or `writeTokenizer`.
 * @throws TokenizerError when eosToken or padToken is none of the special tokens
 */
export function tokenizerFiles(tokenizer: TokenizerJson, options: TokenizerConfigOptions = {}): TokenizerFiles {
  const { eosToken = '<|im_end|>', padToken = '<|endoftext|>', modelMaxLength = 32_768 } = options
  const { chatTemplate = CHATML_TEMPLATE } = options
  for (const token of [eosToken, padToken]) {
    if (tokenizer.added_tokens.some((added) => added.content === token)) continue
    throw new TokenizerError(
      'TOKENIZER_FORMAT',
      `${JSON.stringify(token)} is none of the tokenizer's special tokens; name one of them as eosToken and padToken, or train with it.`,
    )
  }
  const config = {
    // The generic class makes transformers take tokenizer.json as it is; a family's own class would rebuild parts of it.
    tokenizer_class: 'PreTrainedTokenizerFast',
    add_bos_token: false,
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(tokenizer.added_tokens.map(({ id, ...token }) => [String(id), token])),
    additional_special_tokens: tokenizer.added_tokens.filter((token) => token.special).map((token) => token.content),
    bos_token: null,
    eos_token: eosToken,
    pad_token: padToken,
    unk_token: null,
    clean_up_tokenization_spaces: false,
    model_max_length: modelMaxLength,
    chat_template: chatTemplate,
  }
  return { tokenizer, config, chatTemplate }
}

/**
 * Writes tokenizer.json and tokenizer_config.json into a folder, which is made if need be.
 * @throws TokenizerError when the disk refuses; files that were there before stay whole
 */
export async function writeTokenizer(folder: string, files: TokenizerFiles): Promise<void> {
  const config =
    files.chatTemplate === undefined ? files.config : { ...files.config, chat_template: files.chatTemplate }
  try {
    await mkdir(folder, { recursive: true })
    await writeFileAtomic(join(folder, 'tokenizer.json'), `${JSON.stringify(files.tokenizer, null, 2)}\n`)
    await writeFileAtomic(join(folder, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`)
  } catch (cause) {
    throw new TokenizerError(
      'TOKENIZER_WRITE',
      `${folder}: the tokenizer cannot be written (${cause instanceof Error ? cause.message : cause}); check free space and permissions.`,
      { cause },
    )
  }
}
