#!/usr/bin/env node
import { Command } from 'commander'
import { classifyTrainCommand } from './classifyTrain.js'
import { dataCommand } from './data.js'
import { demoCommand } from './demo.js'
import { distillCommand } from './distill.js'
import { doctorCommand } from './doctor.js'
import { evalCommand } from './eval.js'
import { fitCommand } from './fit.js'
import { generateCommand } from './generate.js'
import { planCommand } from './plan.js'
import { pretrainCommand } from './pretrain.js'
import { pullCommand } from './pull.js'
import { serveCommand } from './serve.js'
import { softLabelsCommand } from './softLabels.js'
import { stagesCommand } from './stages.js'
import { tableCommand } from './table/table.js'
import { teacherSignalCommand } from './teacherSignal.js'
import { trainCommand } from './train.js'
import { version } from './version.js'

const program = new Command('lantern')
  .description('Distil a large language model into small ones that rate and explain how well a person fits a job.')
  .version(version)
  .configureHelp({ helpWidth: Math.max(100, process.stdout.columns ?? 0) })
  .showHelpAfterError('(--help tells more)')
  .addHelpText(
    'after',
    `
Exit codes: 0 done, 1 an error, 130 interrupted (training has saved a checkpoint; go on with --resume).
Where a command takes the folder of a model it takes the name of a pulled one, too: owner/name, or owner/name@revision.
Environment: LANTERN_DEVICE is the device where --device names none, LANTERN_THREADS and LANTERN_CPU choose threads and instruction set;
LANTERN_HOME is where pulled models are kept, HF_ENDPOINT and HF_TOKEN are the hub and the token to pull with;
LANTERN_DEBUG=1 shows where an error came from.`,
  )
pullCommand(program)
planCommand(program)
dataCommand(program)
pretrainCommand(program)
trainCommand(program)
teacherSignalCommand(program)
distillCommand(program)
classifyTrainCommand(program)
softLabelsCommand(program)
stagesCommand(program)
tableCommand(program)
evalCommand(program)
fitCommand(program)
generateCommand(program)
serveCommand(program)
demoCommand(program)
doctorCommand(program)

// A reader that has seen enough, such as head, closes the pipe: end as a program does that SIGPIPE ends.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(141)
  throw error
})

try {
  await program.parseAsync()
} catch (error) {
  console.error(error instanceof Error ? `${error.name}: ${error.message}` : String(error))
  if (process.env.LANTERN_DEBUG === '1' && error instanceof Error) console.error(error.stack)
  process.exitCode = 1
}
