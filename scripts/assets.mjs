// Makes the base models in assets/ anew (npm run assets): each in two stages of `lantern pretrain`, first lists to repeat, which teach to
// copy, then the whole corpus. Both have the teacher's tokenizer. Each folder's made-with.json tells command, seed, steps, tokens, loss, time.
import { execFileSync } from 'node:child_process'
import { cpSync, rmSync } from 'node:fs'

const SHAPES = {
  teacher: ['--hidden', '192', '--layers', '4', '--heads', '6', '--kv-heads', '2', '--intermediate', '512'],
  student: [
    '--hidden',
    '128',
    '--layers',
    '4',
    '--heads',
    '4',
    '--kv-heads',
    '2',
    '--intermediate',
    '352',
    '--tokenizer',
    'assets/teacher',
  ],
}

for (const [name, shape] of Object.entries(SHAPES)) {
  const stage = (number, ...options) =>
    execFileSync(
      'node',
      ['dist/cli/main.js', 'pretrain', '--out', `runs/assets/${name}-${number}`, '--resume', ...options],
      {
        stdio: 'inherit',
      },
    )
  stage(
    1,
    ...shape,
    '--corpus',
    'lists',
    '--pairs',
    '6000',
    '--epochs',
    '1',
    '--batch',
    '12',
    '--learning-rate',
    '2e-3',
  )
  stage(
    2,
    '--from',
    `runs/assets/${name}-1/model`,
    '--pairs',
    '9000',
    '--epochs',
    '1',
    '--batch',
    '12',
    '--learning-rate',
    '1e-3',
    '--seed',
    '2',
  )
  rmSync(`assets/${name}`, { recursive: true, force: true })
  cpSync(`runs/assets/${name}-2/model`, `assets/${name}`, { recursive: true })
}
