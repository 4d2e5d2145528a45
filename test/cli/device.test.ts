// The device setting: the same in every command that opens one, and before anything else is looked at.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { classifyTrain, classifyTrainCommand } from '../../lib/cli/classifyTrain.js'
import { demo, demoCommand } from '../../lib/cli/demo.js'
import { deviceSetting, withDevice } from '../../lib/cli/device.js'
import { distill, distillCommand } from '../../lib/cli/distill.js'
import { doctor, doctorCommand } from '../../lib/cli/doctor.js'
import { evalCommand, evaluate } from '../../lib/cli/eval.js'
import { fitCommand, rateAndExplain } from '../../lib/cli/fit.js'
import { generate, generateCommand } from '../../lib/cli/generate.js'
import { pretrainCommand } from '../../lib/cli/pretrain.js'
import { serve, serveCommand } from '../../lib/cli/serve.js'
import { train, trainCommand } from '../../lib/cli/train.js'
import { ConfigError, DeviceError } from '../../lib/errors.js'
import type { DeviceKind } from '../../lib/tensor/deviceKind.js'
import { temporaryFolder } from '../tiny.js'

const root = temporaryFolder()
const at = (...parts: string[]) => join(root, ...parts)
afterEach(() => void vi.unstubAllEnvs())

/** A GPU that no machine has. */
const NOWHERE: DeviceKind = 'cuda:99'
const NO_GPU = { code: 'ERR_NO_GPU', message: expect.stringContaining(`there is no device '${NOWHERE}'`) }
const VALID = "use 'auto', 'cpu', 'cuda', or 'cuda:1' for the second GPU"

const commands = [
  pretrainCommand,
  trainCommand,
  distillCommand,
  classifyTrainCommand,
  evalCommand,
  fitCommand,
  generateCommand,
  serveCommand,
  demoCommand,
  doctorCommand,
]

function programOf(...add: ((program: Command) => void)[]): Command {
  const program = new Command('lantern').exitOverride().configureOutput({ writeErr: () => {} })
  for (const command of add) command(program)
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => {} })
  return program
}

const rejection = (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
  promise.then(
    () => Promise.reject(new Error('nothing was thrown')),
    (error) => error,
  )

describe('--device', () => {
  it.each(programOf(...commands).commands.map((command) => [command.name(), command] as const))(
    '%s has it, says what it takes, and refuses anything else',
    async (_, command) => {
      const option = command.options.find(({ long }) => long === '--device')
      expect(option?.flags).toBe('--device <device>')
      expect(option!.description).toMatch(/'auto', 'cpu', 'cuda', or 'cuda:1' .* LANTERN_DEVICE .*\(default: auto\)$/)
      for (const kind of ['tpu', 'cuda:', 'cuda:x', 'CPU', 'cuda1', '']) {
        const error = await rejection(command.parent!.parseAsync(['node', 'lantern', command.name(), '--device', kind]))
        expect(error).toMatchObject({ code: 'commander.invalidArgument' })
        expect(error.message).toContain(`'${kind}' is invalid. It is "${kind}"; ${VALID}.`)
      }
    },
  )

  it('overrides the configuration, and that LANTERN_DEVICE', async () => {
    const file = at('run.yaml')
    await writeFile(file, `model: ${at('nowhere')}\ndata: data\nout: out\ndevice: ${NOWHERE}\n`)
    const run = (...flags: string[]) =>
      rejection(programOf(trainCommand).parseAsync(['node', 'lantern', 'train', '--config', file, ...flags]))
    expect(await run()).toMatchObject(NO_GPU)
    expect(await run('--device', 'cuda:98')).toMatchObject({ message: expect.stringContaining("'cuda:98'") })
    vi.stubEnv('LANTERN_DEVICE', 'cuda:97')
    expect(await run()).toMatchObject(NO_GPU)
    const further = await run('--device', 'cpu')
    expect(further).not.toBeInstanceOf(DeviceError)
    expect(further.message).toContain('no such file')
    expect(await run('--device', 'auto')).toMatchObject({
      message: expect.stringContaining("'cuda:97' (LANTERN_DEVICE)"),
    })
  })

  it('is checked in a configuration, with line and column', async () => {
    const file = at('wrong.yaml')
    for (const [value, shown] of [
      ['gpu', '"gpu"'],
      ['1', '1'],
    ]) {
      await writeFile(file, `model: a\ndevice: ${value}\n`)
      const error = await rejection(
        programOf(distillCommand).parseAsync(['node', 'lantern', 'distill', '--config', file]),
      )
      expect(error).toBeInstanceOf(ConfigError)
      expect(error.message).toContain(`wrong.yaml:2:9: device: is ${shown}; ${VALID}`)
    }
  })
})

describe('the device of a program', () => {
  const print = () => {}
  const folders = { model: at('x'), data: at('x'), out: at('x') }
  const models = { classifier: at('x'), explainer: at('x') }
  it.each<[string, (device: DeviceKind) => Promise<unknown>]>([
    ['train', (device) => train({ ...folders, device }, { print })],
    ['distill', (device) => distill({ ...folders, teacher: at('x'), device }, { print })],
    ['classifyTrain', (device) => classifyTrain({ ...folders, device }, { print })],
    ['evaluate', (device) => evaluate({ ...folders, device }, { print })],
    ['generate', (device) => generate({ ...folders, prompt: 'x', device }, { print })],
    [
      'rateAndExplain',
      (device) => rateAndExplain({ ...models, job: 'package.json', profile: 'package.json', device }, { print }),
    ],
    ['serve', (device) => serve({ ...models, device }, { print })],
    ['demo', (device) => demo({ out: at('demo'), device }, { print })],
  ])('%s opens what it is told to', async (_, run) => {
    expect(await rejection(run(NOWHERE))).toMatchObject(NO_GPU)
    expect(await rejection(run('tpu' as 'cpu'))).toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`device is "tpu"; ${VALID}`),
    })
  })

  it('doctor tells that it was asked for, or why it does not open', async () => {
    const cpu = await doctor(print, { quick: true, device: 'cpu' })
    expect(cpu.device).toMatchObject({ kind: 'cpu', why: '--device is cpu' })
    const none = await doctor(print, { quick: true, device: NOWHERE })
    expect(none.device).toBeNull()
    expect(none.advice).toContainEqual(NO_GPU.message)
  })

  it('is closed after the work, also when that fails', async () => {
    for (const fails of [false, true]) {
      const opened = await withDevice({ device: 'cpu' }, {}, async (device) => {
        if (fails) throw Object.assign(new Error('the work'), { device })
        return device
      }).catch(({ device }) => device)
      expect(() => opened.zeros([1])).toThrow('the device was closed')
    }
  })

  it('defaults to auto', () => {
    expect(deviceSetting.parse(undefined)).toBe('auto')
  })
})
