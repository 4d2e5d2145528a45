import { readFile } from 'node:fs/promises'
import { ArgumentError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { elements, type FloatDType, type Shape } from '../tensor/tensor.js'
import { configError, type ModelConfig, type Pooling } from './config.js'
import { Decoder } from './decoder.js'
import { type DecoderConfig, type DecoderFamily, parseDecoder, writeDecoder } from './decoderConfig.js'
import { decoderWeights } from './decoderWeights.js'
import type { Declare, Model, WeightSource } from './model.js'
import { ModernBert, modernBertWeights } from './modernbert.js'
import { type ModernBertConfig, parseModernBert, writeModernBert } from './modernbertConfig.js'
import { phi3 } from './phi3.js'
import { qwen2 } from './qwen2.js'
import { qwen3 } from './qwen3.js'
import { TwoTower, twoTowerWeights } from './twoTower.js'

/** What it takes to load, run and save the models of one family. */
export interface Family<C extends ModelConfig = ModelConfig> {
  /** `model_type` of its config.json. */
  modelType: string
  /** What its sequences may be pooled by, the default first. */
  poolings: readonly Pooling[]
  /** @throws ConfigError naming every key that is missing or wrong */
  parse(json: unknown, file: string): C
  /** The content of its config.json, in both dialects. */
  toJson(config: C): Record<string, unknown>
  /** Asks for every tensor by its Hugging Face name, in the order of the forward pass. */
  weights(config: C, get: Declare<unknown>): unknown
  create(device: Device, config: C, source: WeightSource, dtype?: FloatDType): Model
}

const decoder = (family: DecoderFamily): Family<DecoderConfig> => ({
  modelType: family.modelType,
  poolings: ['last', 'mean'],
  parse: (json, file) => parseDecoder(family, json, file),
  toJson: (config) => writeDecoder(family, config),
  weights: decoderWeights,
  create: (device, config, source, dtype) => new Decoder(device, config, source, dtype),
})

const modernbert: Family<ModernBertConfig> = {
  modelType: 'modernbert',
  poolings: ['cls', 'mean'],
  parse: parseModernBert,
  toJson: writeModernBert,
  weights: modernBertWeights,
  create: (device, config, source, dtype) => new ModernBert(device, config, source, dtype),
}

/** Every family there is, by `model_type`. To add one: docs/adding-a-model.md. */
export const FAMILIES: ReadonlyMap<string, Family> = new Map(
  [decoder(qwen2), decoder(qwen3), decoder(phi3), modernbert].map((family: Family) => [family.modelType, family]),
)

const familyOf = ({ modelType }: ModelConfig): Family => FAMILIES.get(modelType)!

/**
 * Reads and checks a config.json.
 * @throws ConfigError naming the file and every key that is missing or wrong
 */
export async function readModelConfig(path: string): Promise<ModelConfig> {
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    const reason = (cause as Error).message
    throw configError(
      path,
      [{ path: '', message: `cannot be read as JSON (${reason}); check the path or download it again` }],
      cause,
    )
  }
  return parseModelConfig(json, path)
}

/**
 * Checks the content of a config.json of any family, in the dialect of transformers 4 or 5. Keys that do not change what the model computes are
 * ignored.
 * @param file name for messages
 * @throws ConfigError naming every key that is missing or wrong, or the families that there are
 */
export function parseModelConfig(json: unknown, file = 'config.json'): ModelConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw configError(file, [{ path: '', message: 'is no object; download it again' }])
  const { model_type: type } = json as { model_type?: unknown }
  const family = typeof type === 'string' ? FAMILIES.get(type) : undefined
  if (!family)
    throw configError(file, [
      {
        path: 'model_type',
        message: `${type === undefined ? 'is missing' : `${JSON.stringify(type)} is no family that is supported`}; there are ${[...FAMILIES.keys()].join(', ')} (docs/adding-a-model.md says how to add one)`,
      },
    ])
  return family.parse(json, file)
}

/**
 * The content of a config.json that transformers 4 and 5, vLLM and llama.cpp's converter read: both dialects, saying the same.
 * @param extra further keys, such as `transformers_version`; they win
 */
export function configToJson(
  config: ModelConfig,
  extra: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  return { ...familyOf(config).toJson(config), ...extra }
}

/** Every tensor that a model of this config has, by its Hugging Face name, in the order of the forward pass. */
export function tensorShapes(config: ModelConfig): Map<string, Shape> {
  const shapes = new Map<string, Shape>()
  const get: Declare<unknown> = (name, ...shape) => shapes.set(name, shape)
  familyOf(config).weights(config.twoTower ? bodyOf(config) : config, get)
  if (config.twoTower) twoTowerWeights(config, get)
  return shapes
}

/** Number of parameters; a tied head counts once. */
export function parameterCount(config: ModelConfig): number {
  return [...tensorShapes(config).values()].reduce((sum, shape) => sum + elements(shape), 0)
}

/** The same model without any head. */
function bodyOf({ numLabels, id2label, twoTower, ...config }: ModelConfig): ModelConfig & { bare: true } {
  return { ...config, bare: true }
}

/**
 * A model of this config, its tensors from `source`.
 * @throws ArgumentError for a pooling that its family does not have
 */
export function buildModel(device: Device, config: ModelConfig, source: WeightSource, dtype?: FloatDType): Model {
  const { create, poolings, modelType } = familyOf(config)
  if (config.pooling && !poolings.includes(config.pooling))
    throw new ArgumentError(
      `pooling is ${config.pooling}; a model of the family ${modelType} has ${poolings.join(', ')}`,
    )
  if (!config.twoTower) return create(device, config, source, dtype)
  return new TwoTower(create(device, bodyOf(config), source, dtype), config, source)
}
