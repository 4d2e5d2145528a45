import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'

/**
 * Runs a program of native tests (test/native/harness.h), all of them or those whose name holds `filter`, and writes how many passed and failed
 * to the file `report`, in the words of vitest's. One that dies before its sum has one failed test. Returns the exit code.
 */
export function runNativeTests(program, filter, report, env = {}) {
  const { status, stdout } = spawnSync(program, filter, {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  process.stdout.write(stdout ?? '')
  const [, passed, failed] = /(\d+) passed, (\d+) failed/.exec(stdout ?? '') ?? [0, 0, 1]
  writeFileSync(report, JSON.stringify({ numPassedTests: Number(passed), numFailedTests: Number(failed) }))
  return status ?? 1
}
