import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ArgumentError } from '../errors.js'
import { findModelFolder } from '../hub/cache.js'
import type { ModelConfig } from '../models/config.js'
import { parameterCount, readModelConfig } from '../models/families.js'

const FOLDER = fileURLToPath(new URL('../../assets/configs', import.meta.url))

/** Names of the published models whose config.json comes with the package. */
export const publishedModels = (): string[] =>
  readdirSync(FOLDER)
    .filter((file) => file.endsWith('.json') && file !== 'made-with.json')
    .map((file) => file.slice(0, -'.json'.length))
    .sort()

/**
 * The config of a model: a folder with a config.json, a pulled model, or a published name, with or without its owner (`Qwen/Qwen2.5-7B`).
 * @throws ArgumentError naming the published models; ConfigError for a config.json that is wrong
 */
export async function resolveConfig(name: string): Promise<ModelConfig> {
  const file = join((await findModelFolder(name)) ?? name, 'config.json')
  if (existsSync(file)) return readModelConfig(file)
  const known = publishedModels()
  const wanted = name.slice(name.lastIndexOf('/') + 1).toLowerCase()
  const found = known.find((k) => k.toLowerCase() === wanted)
  if (!found)
    throw new ArgumentError(
      `${name} is neither a folder with a config.json, nor a pulled model, nor a published one that is known; give a folder, or one of ${known.join(', ')}`,
    )
  return readModelConfig(join(FOLDER, `${found}.json`))
}

/** A published model. */
export interface Published {
  name: string
  config: ModelConfig
}

/** The published models of another's family and use that are smaller, the largest first. */
export async function smallerModels(config: ModelConfig): Promise<Published[]> {
  const size = parameterCount(config)
  const found: Published[] = []
  for (const name of publishedModels()) {
    if (/instruct/i.test(name)) continue // the shapes of their base models
    const other = await resolveConfig(name)
    if (other.modelType === config.modelType && other.causal === config.causal && parameterCount(other) < size)
      found.push({ name, config: other })
  }
  return found.sort((a, b) => parameterCount(b.config) - parameterCount(a.config))
}
