import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import { z } from 'zod'
import { LEVELS } from '../distill/samples.js'
import { ArgumentError, InputError } from '../errors.js'
import { type FitResult, FitService } from '../serve/fitService.js'
import { checkSettings, defineCommand } from './command.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { abstainSetting, file, folder } from './settings.js'

const schema = z.object({
  job: file('job post: JobPosting JSON-LD, our own JSON, HTML or text; - is the standard input'),
  profile: file('profile: JSON Resume, our own JSON or text; - is the standard input'),
  classifier: folder('model that rates'),
  explainer: folder('model that explains'),
  maxTokens: z.int().min(1).default(320).describe('most tokens of the explanation'),
  abstain: abstainSetting,
  device: deviceSetting,
})

/** Settings of `lantern fit`. */
export type FitSettings = z.input<typeof schema>

/** A rated and explained fit. */
export interface ExplainedFit extends FitResult {
  explanation: string
  interrupted: boolean
}

/** `lantern fit`: one post and one profile, rated and explained. */
export function fitCommand(program: Command): void {
  defineCommand(program, {
    name: 'fit',
    description: 'rate how well a profile fits a job post, then explain it requirement by requirement',
    schema,
    examples:
      'Example: lantern fit --job post.jsonld --profile resume.json --classifier runs/classifier/model --explainer runs/js/model',
    run: async (settings) => {
      const print = (piece: string) => void process.stdout.write(piece)
      return (await rateAndExplain(settings, { print, signal: interruptible('leaving') })).interrupted ? 130 : 0
    },
  })
}

/**
 * Rates and explains one pair; `context.print` gets pieces of text as they come, line breaks included.
 * @throws LanternError for files that cannot be read or understood, and for models that do not fit
 */
export async function rateAndExplain(input: FitSettings, context: CommandContext): Promise<ExplainedFit> {
  const settings = checkSettings('fit', schema, input)
  const { job, profile, classifier, explainer, maxTokens, abstain } = settings
  if (job === '-' && profile === '-')
    throw new ArgumentError('fit: job and profile cannot both be the standard input; give a file for one of them')
  const [jobText, profileText] = [await readInput('job post', job), await readInput('profile', profile)]
  const { print, signal } = context
  return withDevice(settings, context, async (device) => {
    const service = await FitService.open({ device, classifier, explainer, abstain })
    try {
      const rated = await service.fit(jobText, profileText)
      const shares = LEVELS.map((level) => `${level} ${(100 * rated.probabilities[level]).toFixed(1)} %`)
      const verdict = rated.level === 'abstain' ? 'Abstained' : `Rated ${rated.level}`
      print(`${verdict} (${shares.join(', ')})\n\n`)
      const result: ExplainedFit = { ...rated, explanation: '', interrupted: false }
      try {
        for await (const piece of service.explain(rated.prompt, { maxTokens, signal })) {
          result.explanation += piece
          print(piece)
        }
      } catch (error) {
        if (!signal?.aborted) throw error
        result.interrupted = true
      }
      print('\n')
      return result
    } finally {
      await service.close()
    }
  })
}

async function readInput(what: string, path: string): Promise<string> {
  try {
    return path === '-' ? await text(process.stdin) : await readFile(path, 'utf8')
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new InputError(`${what}: ${path} cannot be read (${reason}); check the path`, { cause })
  }
}
