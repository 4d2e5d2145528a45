import { once } from 'node:events'
import type { Command } from 'commander'
import { z } from 'zod'
import { LanternError } from '../errors.js'
import { FitService } from '../serve/fitService.js'
import { createServer } from '../serve/server.js'
import { checkSettings, defineCommand } from './command.js'
import { type CommandContext, deviceSetting, withDevice } from './device.js'
import { interruptible } from './interrupt.js'
import { abstainSetting, folder } from './settings.js'

const schema = z.object({
  classifier: folder('model that rates'),
  explainer: folder('model that explains'),
  host: z.string().min(1).default('127.0.0.1').describe('address to listen at; 0.0.0.0 is reached from other machines'),
  port: z.int().min(0).max(65535).default(8080).describe('port to listen at, 0: any free one'),
  maxTokens: z.int().min(1).default(256).describe('most tokens of an explanation'),
  abstain: abstainSetting,
  maxQueue: z.int().min(1).default(64).describe('requests taken at once; more are told to try again later'),
  maxSequences: z.int().min(1).default(32).describe('explanations written together'),
  cacheTokens: z.int().min(16).default(32768).describe('tokens that the KV cache holds'),
  device: deviceSetting,
})

/** Settings of `lantern serve`. */
export type ServeSettings = z.input<typeof schema>

/** `lantern serve`: fits over HTTP. */
export function serveCommand(program: Command): void {
  defineCommand(program, {
    name: 'serve',
    description: 'serve POST /v1/fit, POST /v1/explain (server-sent events), GET /healthz and GET /metrics',
    schema,
    examples: 'Example: lantern serve --classifier runs/classifier/model --explainer runs/js/model --port 8080',
    run: async (settings) => {
      await serve(settings, { print: console.log, signal: interruptible('finishing the requests in progress') })
      return 0
    },
  })
}

/**
 * Serves until the signal aborts, then lets requests in progress finish.
 * @throws LanternError for models that do not fit; ERR_LISTEN when the address cannot be listened at
 */
export async function serve(input: ServeSettings, context: CommandContext): Promise<void> {
  const settings = checkSettings('serve', schema, input)
  const { classifier, explainer, host, port, maxTokens, maxQueue, maxSequences, cacheTokens, abstain } = settings
  await withDevice(settings, context, async (device) => {
    const service = await FitService.open({ device, classifier, explainer, maxSequences, cacheTokens, abstain })
    try {
      const server = createServer(service, { maxTokens, maxQueue })
      const address = await server.listen({ host, port }).catch((cause) => {
        const reason = cause instanceof Error ? cause.message : String(cause)
        throw new LanternError(
          'ERR_LISTEN',
          `cannot listen at ${host}:${port} (${reason}); choose another --port or --host`,
          { cause },
        )
      })
      context.print(`listening at ${address}`)
      if (!context.signal?.aborted) await (context.signal ? once(context.signal, 'abort') : new Promise(() => {}))
      await server.close()
      context.print('stopped')
    } finally {
      await service.close()
    }
  })
}
