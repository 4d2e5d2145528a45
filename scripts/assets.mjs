// Makes the base models in assets/ anew (npm run assets), each in stages of `lantern pretrain`: lists, which teach to copy and to look
// things up, and the whole corpus in turn. All have the teacher's tokenizer. Each folder's made-with.json tells commands, seeds, steps, tokens, losses, time.
// What is already in runs/assets goes on from its newest checkpoint.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, rmSync } from 'node:fs'

const MODELS = {
  teacher: [
    '--corpus lists --pairs 10000 --batch 24 --learning-rate 1.5e-3 --hidden 192 --layers 4 --heads 6 --kv-heads 3 --intermediate 512',
    '--pairs 8000 --batch 12 --learning-rate 1.2e-3',
    '--pairs 3500 --batch 24 --learning-rate 1e-3',
    '--pairs 5000 --batch 24 --learning-rate 1e-3',
    '--corpus lists --pairs 5000 --batch 24 --learning-rate 1.2e-3',
    '--pairs 4000 --batch 24 --learning-rate 1e-3',
  ],
  student: [
    '--corpus lists --pairs 10000 --batch 24 --learning-rate 2e-3 --hidden 128 --layers 4 --heads 4 --kv-heads 2 --intermediate 352' +
      ' --tokenizer runs/assets/teacher-1/tokenizer',
    '--pairs 8000 --batch 12 --learning-rate 1.5e-3',
    '--pairs 3500 --batch 24 --learning-rate 1.2e-3',
    '--pairs 6000 --batch 24 --learning-rate 1.2e-3',
    '--corpus lists --pairs 5000 --batch 24 --learning-rate 1.5e-3',
    '--pairs 4000 --batch 24 --learning-rate 1.2e-3',
    '--corpus lists --pairs 8000 --batch 24 --learning-rate 1.5e-3',
    '--pairs 6000 --batch 24 --learning-rate 1.2e-3',
  ],
  mini: [
    '--corpus lists --pairs 10000 --batch 24 --learning-rate 2.5e-3 --hidden 96 --layers 4 --heads 3 --kv-heads 1 --intermediate 256' +
      ' --tokenizer assets/teacher',
    '--pairs 8000 --batch 12 --learning-rate 2e-3',
    '--corpus lists --pairs 8000 --batch 24 --learning-rate 1.5e-3',
    '--pairs 6000 --batch 24 --learning-rate 1.5e-3',
    '--corpus lists --pairs 8000 --batch 24 --learning-rate 1.5e-3',
    '--pairs 6000 --batch 24 --learning-rate 1.2e-3',
  ],
}

const chosen = process.argv.slice(2)
for (const [name, stages] of Object.entries(MODELS)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue
  let from = []
  for (const [i, options] of stages.entries()) {
    const out = `runs/assets/${name}-${i + 1}`
    const common = ['--out', out, '--resume', '--epochs', '1', '--seed', String(i + 1)]
    const args = ['dist/cli/main.js', 'pretrain', ...common, ...from, ...options.split(' ')]
    if (!existsSync(`${out}/model/made-with.json`)) execFileSync('node', args, { stdio: 'inherit' })
    from = ['--from', `${out}/model`]
  }
  rmSync(`assets/${name}`, { recursive: true, force: true })
  cpSync(from[1], `assets/${name}`, { recursive: true })
}
