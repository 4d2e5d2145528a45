import { spawnSync } from 'node:child_process'
import os from 'node:os'

/** Runs a command, with our output if `options` of spawnSync say nothing else; variables in `env` are added to ours. Ends the process when it fails. */
export function run(command, args, { env = {}, ...options } = {}) {
  const { status, signal, error } = spawnSync(command, args, {
    stdio: 'inherit',
    ...options,
    env: { ...process.env, ...env },
  })
  if (error) console.error(error.message)
  if (status !== 0) process.exit(signal ? 1 : (status ?? 1))
}

/** Builds a target of the CMake project in `source` in the folder `build`, on all processors. */
export function cmakeBuild(source, build, target, { settings = [], ...options } = {}) {
  run('cmake', ['-S', source, '-B', build, '--log-level=WARNING', ...settings], options)
  run('cmake', ['--build', build, '--target', target, '--parallel', String(os.availableParallelism())], options)
}
