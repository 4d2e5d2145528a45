import type { PullProgress } from '../hub/pull.js'
import type { EvalReport, StepReport, TrainListener } from '../train/trainer.js'

const BAR = 16

/** One aligned line a step: progress, loss parts, gradient norm, learning rate, speed, share of the matrix peak, memory, time left. */
export function stepLine(report: StepReport, peakFlops: number): string {
  const { step, steps, parts, gradNorm, learningRate, tokensPerSecond, flopsPerSecond, memory, seconds } = report
  const losses = Object.entries(parts).map(([name, value]) => `${short(name)} ${value.toFixed(4).padStart(7)}`)
  const left = (steps - step) * seconds
  return [
    `${String(step).padStart(String(steps).length)}/${steps} ${bar(step / steps)}`,
    ...losses,
    `norm ${gradNorm.toFixed(2).padStart(6)}`,
    `lr ${learningRate.toExponential(1)}`,
    `${Math.round(tokensPerSecond).toString().padStart(6)} tok/s`,
    `${Math.round((100 * flopsPerSecond) / peakFlops)
      .toString()
      .padStart(3)} % peak`,
    `${Math.round(memory / 2 ** 20)
      .toString()
      .padStart(5)} MiB`,
    `${clock(left)} left`,
  ].join('  ')
}

/** How far a download is: share, mebibytes, speed, time left, the file in hand. */
export function pullLine({ file, present, total, received, seconds }: PullProgress): string {
  const share = total > 0 ? present / total : 1
  const size = mebibytes(total)
  const speed = seconds > 0 ? received / seconds : 0
  const left = present >= total ? 0 : (total - present) / speed
  return [
    `${String(Math.floor(100 * share)).padStart(3)} % ${bar(share)}`,
    `${mebibytes(present).padStart(size.length)}/${size} MiB`,
    `${mebibytes(speed).padStart(6)} MiB/s`,
    `${(Number.isFinite(left) ? clock(left) : '-:--').padStart(6)} left`,
    file,
  ].join('  ')
}

/** How far a teacher's signal is. */
export interface SignalProgress {
  /** Labelled tokens that are written, and those that there are. */
  tokens: number
  total: number
  /** Tokens that this run has written, in how many seconds. */
  written: number
  seconds: number
  /** Of a token in the file. */
  bytes: number
}

/** Progress, mebibytes, speed and time left of a teacher's signal. */
export function signalLine({ tokens, total, written, seconds, bytes }: SignalProgress): string {
  const size = mebibytes(total * bytes)
  const speed = written / Math.max(seconds, 1e-3)
  return [
    `${String(tokens).padStart(String(total).length)}/${total} ${bar(tokens / total)}  labelled tokens`,
    `${mebibytes(tokens * bytes).padStart(size.length)}/${size} MiB`,
    `${Math.round(speed).toString().padStart(6)} tok/s`,
    `${clock((total - tokens) / speed)} left`,
  ].join('  ')
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1)

function bar(share: number): string {
  const done = Math.round(BAR * share)
  return '━'.repeat(done) + '─'.repeat(BAR - done)
}

const clock = (seconds: number): string =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`

/** A line of progress that replaces the one before it on a terminal; elsewhere there is a new one every ten seconds, and the last. */
export class LiveLine {
  readonly #out: NodeJS.WriteStream
  readonly #every: number
  #line = ''
  /** The line is on the terminal, or has been printed. */
  #shown = ''
  #next = 0

  constructor(out: NodeJS.WriteStream = process.stdout) {
    this.#out = out
    this.#every = out.isTTY ? 100 : 10_000
    if (!out.isTTY) this.#next = performance.now() + this.#every
  }

  /** Shows the line, unless one has just been shown. */
  update(line: string): void {
    this.#line = line
    if (performance.now() >= this.#next) this.#show()
  }

  /** Shows the last line for good; another may begin. */
  end(): void {
    if (this.#line !== this.#shown) this.#show()
    if (this.#out.isTTY && this.#shown) this.#out.write('\n')
    this.#line = ''
    this.#shown = ''
  }

  #show(): void {
    const { isTTY, columns } = this.#out
    this.#next = performance.now() + this.#every
    this.#shown = this.#line
    this.#out.write(isTTY ? `\r${this.#line.slice(0, (columns || 80) - 1)}\x1b[K` : `${this.#line}\n`)
  }
}

/** The line of a validation. */
export function evalLine({ step, parts, best }: EvalReport): string {
  const losses = Object.entries(parts).map(([name, value]) => `${short(name)} ${value.toFixed(4)}`)
  return `validation after step ${step}: ${losses.join('  ')}${best ? '  (best so far)' : ''}`
}

const short = (name: string) => ({ teacherEntropy: 'H(t)', agreement: 'agree', accuracy: 'acc' })[name] ?? name

/** Prints every `every`-th step, the first and the last, and all validations. */
export function printer(peakFlops: number, every = 1, print: (line: string) => void = console.log): TrainListener {
  return {
    onStep: (report) => {
      if (report.step % every === 0 || report.step === 1 || report.step === report.steps)
        print(stepLine(report, peakFlops))
    },
    onEval: (report) => print(evalLine(report)),
  }
}
