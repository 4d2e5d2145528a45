// Before the tests on the PTX machine: it is built, and the reports of an earlier run are gone.
import { mkdirSync, rmSync } from 'node:fs'
import { buildMachine, REPORTS } from './build.js'

export default function setup(): void {
  buildMachine()
  rmSync(REPORTS, { recursive: true, force: true })
  mkdirSync(REPORTS)
}
