// What the peers of npm share: the requests and answers of peer.py, for scripts that are started with
//   THREADS FOLDER FILE   the threads they get, the folder whose node_modules holds their package, and the model they run.
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [, , count, folder, model] = process.argv

export const threads = Number(count)
/** Path of the model. */
export const file = model

/** A package of the folder, as `import` gives it. */
export async function load(name) {
  const require = createRequire(join(resolve(folder), 'package.json'))
  return import(pathToFileURL(require.resolve(name)).href)
}

/** Token ids, random but above the special ones. */
export const randomIds = (length, vocabSize) =>
  Array.from({ length }, () => 3 + Math.floor(Math.random() * (vocabSize - 3)))

/** Seconds of a run. */
async function timed(run, times = 1) {
  const started = performance.now()
  for (let i = 0; i < times; i++) await run()
  return (performance.now() - started) / times / 1000
}

/** Seconds a run: one run after another where a turn holds no more, else the means of samples of an eighth of the turn. */
async function turn(run, first, seconds) {
  if (first > seconds / 2) {
    await run() // the first run after seconds of the other side's turn takes longer
    return [await timed(run)]
  }
  const times = Math.max(1, Math.round(seconds / 8 / first))
  const samples = []
  for (const until = performance.now() + seconds * 1000; samples.length < 3 || performance.now() < until; )
    samples.push(await timed(run, times))
  return samples
}

/**
 * Answers requests until the input ends. `make(case)` returns the function to time; `about` is what is to be known of the peer, said
 * with every answer.
 */
export async function serve(make, about) {
  let run = null
  let first = 0
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    let reply
    try {
      if (request.case) {
        run = await make(request.case)
        first = await timed(run)
        if (first < 1) first = await timed(run) // the first run also loads and allocates
        reply = { samples: [first], about }
      } else reply = { samples: await turn(run, first, request.seconds), about }
    } catch (error) {
      reply = { error: String(error?.message ?? error) }
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`)
  }
  process.exit() // what a package keeps running must not keep the process
}
