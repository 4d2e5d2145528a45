// Makes the base models in assets/ anew (npm run assets): both by `lantern pretrain`, with the same corpus and tokenizer. About half an hour
// on two cores. Each folder's made-with.json tells command, seed, steps, tokens, loss and time.
import { execFileSync } from 'node:child_process'
import { cpSync, rmSync } from 'node:fs'

const COMMON = [
  '--pairs',
  '9000',
  '--epochs',
  '2',
  '--batch',
  '16',
  '--learning-rate',
  '2e-3',
  '--seed',
  '1',
  '--resume',
]
const MODELS = {
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

for (const [name, shape] of Object.entries(MODELS)) {
  const out = `runs/assets/${name}`
  execFileSync('node', ['dist/cli/main.js', 'pretrain', '--out', out, ...COMMON, ...shape], { stdio: 'inherit' })
  rmSync(`assets/${name}`, { recursive: true, force: true })
  cpSync(`${out}/model`, `assets/${name}`, { recursive: true })
}
