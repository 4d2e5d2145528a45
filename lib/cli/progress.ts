import type { EvalReport, StepReport, TrainListener } from '../train/trainer.js'

const BAR = 16

/** One aligned line a step: progress, loss parts, gradient norm, learning rate, speed, share of the matrix peak, memory, time left. */
export function stepLine(report: StepReport, peakFlops: number): string {
  const { step, steps, parts, gradNorm, learningRate, tokensPerSecond, flopsPerSecond, memory, seconds } = report
  const done = Math.round((BAR * step) / steps)
  const bar = '━'.repeat(done) + '─'.repeat(BAR - done)
  const losses = Object.entries(parts).map(([name, value]) => `${short(name)} ${value.toFixed(4).padStart(7)}`)
  const left = (steps - step) * seconds
  return [
    `${String(step).padStart(String(steps).length)}/${steps} ${bar}`,
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
    `${Math.floor(left / 60)}:${String(Math.floor(left % 60)).padStart(2, '0')} left`,
  ].join('  ')
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
