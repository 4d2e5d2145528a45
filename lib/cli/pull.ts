import type { Command } from 'commander'
import { z } from 'zod'
import { modelText } from '../hub/cache.js'
import { type PulledModel, type PullPlan, pullModel } from '../hub/pull.js'
import { checkSettings, defineCommand } from './command.js'
import type { CommandContext } from './device.js'
import { interruptible, unlessInterrupted } from './interrupt.js'
import { LiveLine, pullLine } from './progress.js'
import { folder } from './settings.js'

const schema = z.object({
  name: z.string().min(1).describe('model on the hub: owner/name, or owner/name@revision'),
  revision: z.string().min(1).optional().describe('branch, tag or commit (default: main)'),
  to: folder('put the model there (default: the cache, where commands find it by its name)').optional(),
  endpoint: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'the hub (default: HF_ENDPOINT, else https://huggingface.co)', argument: 'url' }),
  token: z.string().min(1).optional().describe('access token, for private and gated models (default: HF_TOKEN)'),
})

/** Settings of `lantern pull`. */
export type PullSettings = z.input<typeof schema>

/** `lantern pull`: a model folder from the Hugging Face Hub. */
export function pullCommand(program: Command): void {
  defineCommand(program, {
    name: 'pull',
    description: 'download a model from the Hugging Face Hub, or go on with a download; every file is verified',
    schema,
    positional: 'name',
    examples:
      'Example: lantern pull Qwen/Qwen2.5-0.5B-Instruct, then lantern generate --model Qwen/Qwen2.5-0.5B-Instruct --chat "Hello"',
    run: async (settings) => {
      const signal = interruptible('leaving; what has been fetched is kept')
      if (await unlessInterrupted(signal, () => pull(settings, { print: console.log, signal }))) return 0
      console.log('interrupted; the same command goes on where it was')
      return 130
    },
  })
}

/**
 * Pulls a model; prints its files and sizes, then how far it is.
 * @throws as pullModel
 */
export async function pull(
  input: PullSettings,
  { print, signal }: Pick<CommandContext, 'print' | 'signal'>,
  line = new LiveLine(),
): Promise<PulledModel> {
  const { name, ...options } = checkSettings('pull', schema, input)
  try {
    const pulled = await pullModel(name, {
      ...options,
      signal,
      listener: {
        onPlan: (plan) => print(planLines(plan).join('\n')),
        onProgress: (progress) => line.update(pullLine(progress)),
        onRetry: (reason, wait) => {
          line.end()
          print(`${reason}; ${wait > 0 ? `trying again in ${(wait / 1000).toFixed(1)} s` : 'fetching it again'}`)
        },
      },
    })
    line.end()
    const by = options.to ? '' : `; its name is enough: --model ${modelText(pulled)}`
    print(
      `${pulled.received > 0 ? 'complete and verified' : 'nothing to fetch'}: the model is in ${pulled.folder}${by}`,
    )
    return pulled
  } finally {
    line.end()
  }
}

function planLines({ name, revision, commit, files }: PullPlan): string[] {
  const total = sum(files.map(({ size }) => size))
  const present = sum(files.map((file) => file.present))
  const rows = [
    ...files.map((file) => ({ name: file.name, size: sizeText(file.size) })),
    { name: 'in all', size: sizeText(total) },
  ]
  const [names, sizes] = [rows.map((row) => row.name.length), rows.map((row) => row.size.length)]
  const last = present > 0 ? `, of which ${sizeText(present).trim()} are here` : ''
  return [
    `${name} at ${revision === commit ? '' : `${revision}, `}commit ${commit.slice(0, 12)}`,
    ...rows.map(({ name, size }, i) => {
      const row = `  ${name.padEnd(Math.max(...names))}  ${size.padStart(Math.max(...sizes))}`
      return row.trimEnd() + (i === files.length ? last : '')
    }),
  ]
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)

/** In bytes below a mebibyte; units are padded so that numbers end in one column. */
const sizeText = (bytes: number): string => (bytes < 2 ** 20 ? `${bytes} B  ` : `${(bytes / 2 ** 20).toFixed(1)} MiB`)
