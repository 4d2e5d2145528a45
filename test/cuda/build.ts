// The PTX machine as the tests use it: where it is, where its reports go, and how it is built. Used outside of tests, too.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** The addon that is tested. */
export const ADDON = process.env.LANTERN_ADDON ?? join(root, 'build/Release/lantern.node')

/** Folder of the PTX machine's libcuda.so.1. */
export const MACHINE = join(root, 'build/simt')

/** Folder of the reports of a whole run, one for every process; runs at the same time need one each. */
export const REPORTS = process.env.LANTERN_TEST_REPORTS ?? join(MACHINE, 'reports')

/** Builds the PTX machine if need be. @returns MACHINE */
export function buildMachine(): string {
  for (const args of [
    ['-S', 'test/simt', '-B', MACHINE, '--log-level=WARNING'],
    ['--build', MACHINE, '--target', 'cuda', '--parallel', '2'],
  ]) {
    const { status, stdout, stderr } = spawnSync('cmake', args, { cwd: root, encoding: 'utf8' })
    if (status !== 0) throw new Error(`cmake ${args.join(' ')}\n${stdout}\n${stderr}`)
  }
  return MACHINE
}
