// Makes the base models in assets/ anew (npm run assets): each in two stages of `lantern pretrain`, first lists to repeat, which teach to
// copy, then the whole corpus. Both have the teacher's tokenizer. Each folder's made-with.json tells commands, seeds, steps, tokens, losses, time.
// What is already in runs/assets goes on from its newest checkpoint.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, rmSync } from 'node:fs'

const MODELS = {
  teacher: {
    shape: '--hidden 192 --layers 4 --heads 6 --kv-heads 3 --intermediate 512',
    rates: { copy: '1.2e-3', base: '1.2e-3' },
  },
  student: {
    shape: '--hidden 128 --layers 4 --heads 4 --kv-heads 2 --intermediate 352 --tokenizer runs/assets/teacher-copy/tokenizer',
    rates: { copy: '2e-3', base: '1.5e-3' },
  },
}

const pretrain = (out, options) => {
  if (existsSync(`${out}/model/made-with.json`)) return
  const args = ['dist/cli/main.js', 'pretrain', '--out', out, '--resume', '--batch', '12', ...options.split(' ')]
  execFileSync('node', args, { stdio: 'inherit' })
}

const chosen = process.argv.slice(2)
for (const [name, { shape, rates }] of Object.entries(MODELS)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue
  const [copy, base] = [`runs/assets/${name}-copy`, `runs/assets/${name}-base`]
  pretrain(copy, `--corpus lists --pairs 5000 --epochs 1 --learning-rate ${rates.copy} --seed 1 ${shape}`)
  pretrain(base, `--from ${copy}/model --pairs 8000 --epochs 1 --learning-rate ${rates.base} --seed 2`)
  rmSync(`assets/${name}`, { recursive: true, force: true })
  cpSync(`${base}/model`, `assets/${name}`, { recursive: true })
}
