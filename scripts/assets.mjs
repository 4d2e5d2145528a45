// Makes the base models in assets/ anew (npm run assets): each in two stages of `lantern pretrain`, first lists to repeat, which teach to
// copy, then the whole corpus. Both have the teacher's tokenizer. Each folder's made-with.json tells commands, seeds, steps, tokens, losses, time.
// What is already in runs/assets goes on from its newest checkpoint.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, rmSync } from 'node:fs'

const SHAPES = {
  teacher: '--hidden 192 --layers 4 --heads 6 --kv-heads 2 --intermediate 512',
  student:
    '--hidden 128 --layers 4 --heads 4 --kv-heads 2 --intermediate 352 --tokenizer runs/assets/teacher-copy/tokenizer',
}

const pretrain = (out, options) => {
  if (existsSync(`${out}/model/made-with.json`)) return
  const args = ['dist/cli/main.js', 'pretrain', '--out', out, '--resume', '--batch', '12', ...options.split(' ')]
  execFileSync('node', args, { stdio: 'inherit' })
}

for (const [name, shape] of Object.entries(SHAPES)) {
  const [copying, base] = [`runs/assets/${name}-copy`, `runs/assets/${name}-base`]
  pretrain(copying, `--corpus lists --pairs 5000 --epochs 1 --learning-rate 2e-3 --seed 1 ${shape}`)
  pretrain(base, `--from ${copying}/model --pairs 10000 --epochs 1 --learning-rate 1.5e-3 --seed 2`)
  rmSync(`assets/${name}`, { recursive: true, force: true })
  cpSync(`${base}/model`, `assets/${name}`, { recursive: true })
}
