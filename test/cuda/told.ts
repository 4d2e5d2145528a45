// What a scenario, a process of its own, prints for the test that started it.
import { LanternError } from '../../lib/errors.js'

/** Prints a line of JSON. */
export const say = (line: Record<string, unknown>): void => console.log(JSON.stringify(line))

/** What an error is to a caller. */
export const told = (error: unknown): Record<string, unknown> =>
  error instanceof LanternError
    ? { type: error.name, code: error.code, message: error.message }
    : { type: 'untyped', message: String(error) }

/** Runs `work` and prints what it returns, or the error that it throws. */
export async function attempt(name: string, work: () => Promise<Record<string, unknown>>): Promise<void> {
  try {
    say({ name, ...(await work()) })
  } catch (error) {
    say({ name, error: told(error) })
  }
}
