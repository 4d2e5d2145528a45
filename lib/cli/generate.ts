import type { Command } from 'commander'
import { z } from 'zod'
import { ArgumentError } from '../errors.js'
import { Engine } from '../generate/engine.js'
import { encodeChat } from '../text/chat.js'
import { checkSettings, defineCommand, type Print } from './command.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { openModel } from './models.js'
import { folder } from './settings.js'

const schema = z.object({
  model: folder('model to generate with'),
  prompt: z.string().min(1).optional().describe('text to continue as it stands'),
  chat: z.string().min(1).optional().describe("what a user says; the model's chat template is put around it"),
  maxTokens: z.int().min(1).default(200).describe('most tokens to generate'),
  temperature: z.number().min(0).default(0).describe('softmax temperature, 0: always the most likely token'),
  topK: z.int().min(0).default(0).describe('keep the k most likely tokens, 0: all'),
  topP: z.number().gt(0).max(1).default(1).describe('keep the most likely tokens that together have this probability'),
  repetitionPenalty: z.number().min(0.001).max(1000).default(1).describe('divides the logits of tokens already seen'),
  seed: z.int().default(0).describe('seed of the draws'),
  device: deviceSetting,
})

/** Settings of `lantern generate`. */
export type GenerateSettings = z.input<typeof schema>

/** A generated text and what it took. */
export interface GenerateResult {
  text: string
  tokens: number
  seconds: number
  /** The signal ended it before the model did. */
  interrupted: boolean
}

/** `lantern generate`: text from a model, streamed. */
export function generateCommand(program: Command): void {
  defineCommand(program, {
    name: 'generate',
    description: 'continue a prompt or answer a chat message, streamed to the output',
    schema,
    examples:
      'Example: lantern generate --model runs/teacher/model --chat "Which skills does the job ask for?" --max-tokens 50',
    run: async (settings) => {
      const write: Print = (text) => process.stdout.write(text)
      const { interrupted } = await generate(settings, { print: write, signal: interruptible('leaving') })
      process.stdout.write('\n')
      return interrupted ? 130 : 0
    },
  })
}

/**
 * Generates one text; `context.print` gets its pieces as they come, without line breaks of its own.
 * @throws LanternError for settings, models or prompts that do not fit
 */
export async function generate(input: GenerateSettings, context: CommandContext): Promise<GenerateResult> {
  const { model: path, prompt, chat, device: kind, ...sampling } = checkSettings('generate', schema, input)
  if ((prompt === undefined) === (chat === undefined))
    throw new ArgumentError('generate: give either a prompt or a chat message: --prompt TEXT or --chat TEXT')
  return withDevice({ device: kind }, context, async (device) => {
    using opened = await openModel(device, path, 'decode')
    const { model, tokenizer } = opened
    const ids =
      chat === undefined
        ? tokenizer.encode(prompt!)
        : encodeChat(tokenizer, [{ role: 'user', content: chat }], { addGenerationPrompt: true })
    using engine = new Engine(model, {
      cacheTokens: ids.length + sampling.maxTokens,
      vocabularyLimit: tokenizer.vocabSize,
    })
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true })
    const result: GenerateResult = { text: '', tokens: 0, seconds: 0, interrupted: false }
    const emit = (text: string) => {
      result.text += text
      if (text) context.print(text)
    }
    const started = performance.now()
    try {
      for await (const { id } of engine.generate(ids, { ...sampling, signal: context.signal })) {
        result.tokens++
        emit(decoder.push(id))
      }
    } catch (error) {
      if (!context.signal?.aborted) throw error
      result.interrupted = true
    }
    emit(decoder.flush())
    result.seconds = (performance.now() - started) / 1000
    return result
  })
}
