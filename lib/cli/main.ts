#!/usr/bin/env node
import { Command } from 'commander'
import { LanternError } from '../errors.js'
import { pretrainCommand } from './pretrain.js'

const program = new Command('lantern').description(
  'Distil a large language model into small ones that rate and explain how well a person fits a job.',
)
pretrainCommand(program)

try {
  await program.parseAsync()
} catch (error) {
  if (!(error instanceof LanternError)) throw error
  console.error(`${error.name}: ${error.message}`)
  process.exitCode = 1
}
