import type { Command } from 'commander'
import type { z } from 'zod'
import { textTable } from '../../eval/report.js'
import { checkSettings, defineCommand } from '../command.js'
import type { CommandContext } from '../device.js'
import { interruptible } from '../interrupt.js'
import { baseModels } from './baseModels.js'
import { classifiers } from './classifiers.js'
import { divergences } from './divergences.js'
import type { PaperTable } from './grid.js'
import { multiStage } from './multiStage.js'
import { layoutOf } from './report.js'
import { type FinishedTable, runTable, tableSettings } from './run.js'
import { writeTable } from './write.js'

/** The tables of the paper that are commands. */
export const TABLES = { 1: divergences, 2: multiStage, 3: baseModels, 4: classifiers } as const

/** Settings of `lantern table N`. */
export type TableSettings<N extends keyof typeof TABLES> = z.input<typeof tableSettings> &
  z.input<(typeof TABLES)[N]['schema']>

/** `lantern table 1|2|3|4`: the paper's comparisons on the user's data and models, or small ones of ours. */
export function tableCommand(program: Command): void {
  const command = program
    .command('table')
    .description("run one of the paper's tables: its grid of models on your data, or on ours in minutes")
  for (const table of Object.values(TABLES) as unknown as PaperTable[])
    defineCommand(command, {
      name: String(table.number),
      description: table.description,
      schema: schemaOf(table),
      configFile: true,
      examples: `Training settings that are not given are those of lantern train, or what suits our models where they are trained.
What has been done with the same data, models and settings is kept; interrupted, the same command goes on.
Example: lantern table ${table.number} --data data --out runs/table-${table.number}`,
      run: async (settings) => {
        const done = await finish(table, settings as never, { print: console.log, signal: interruptible() })
        return done ? 0 : 130
      },
    })
}

const schemaOf = (table: PaperTable) => tableSettings.extend(table.schema.shape)

/**
 * Runs a table of the paper, prints it and writes table.csv, report.html and made-with.json into its folder.
 * @returns null when it was interrupted; the same call goes on
 * @throws LanternError for settings, data or models that do not fit, and for training that diverges
 */
export async function table<N extends keyof typeof TABLES>(
  number: N,
  input: TableSettings<N>,
  context: CommandContext,
): Promise<FinishedTable | null> {
  const chosen = TABLES[number] as unknown as PaperTable
  return await finish(chosen, checkSettings(`table ${number}`, schemaOf(chosen), input) as never, context)
}

async function finish(
  table: PaperTable,
  settings: z.output<typeof tableSettings> & Record<string, unknown>,
  context: CommandContext,
): Promise<FinishedTable | null> {
  const finished = await runTable(table, settings, context)
  if (!finished) return null
  const files = await writeTable(table, finished, { command: `lantern table ${table.number}`, settings })
  const layout = layoutOf(table, finished.rows)
  for (const line of ['', layout.title, textTable(layout), layout.note!, `written: ${files.join(', ')}`])
    context.print(line)
  return finished
}
