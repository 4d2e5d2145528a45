import { existsSync, readFileSync, statSync } from 'node:fs'
import { copyFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { suggest } from '../config/suggest.js'
import { CheckpointError } from '../errors.js'
import { replaceDirectory, writeFileAtomic } from '../files.js'
import { modelFolder } from '../hub/cache.js'
import type { Device } from '../tensor/device.js'
import { type DType, type Shape, shapeText, type Tensor } from '../tensor/tensor.js'
import { eosTokenIds, type ModelConfig } from './config.js'
import { configToJson, readModelConfig, tensorShapes } from './families.js'
import {
  type NamedTensor,
  openSafetensors,
  type SafetensorsFile,
  storedBytes,
  writeSafetensors,
} from './safetensors.js'

const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/** The files that tokenizers of Hugging Face folders consist of. */
export const TOKENIZER_FILES: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
]

/** An opened Hugging Face folder: its config, and its tensors mapped from one file or several. */
export class ModelFolder {
  readonly path: string
  readonly config: ModelConfig
  readonly #files: readonly SafetensorsFile[]
  readonly #tensors: ReadonlyMap<string, SafetensorsFile>

  /** @internal use openFolder */
  constructor(
    path: string,
    config: ModelConfig,
    files: readonly SafetensorsFile[],
    tensors: ReadonlyMap<string, SafetensorsFile>,
  ) {
    this.path = path
    this.config = config
    this.#files = files
    this.#tensors = tensors
  }

  /** Names of the tensors as the files have them. */
  get names(): string[] {
    return [...this.#tensors.keys()]
  }

  /** Whether there is a tensor of that name; files that lack the `model.` prefix are understood. */
  has(name: string): boolean {
    return this.#stored(name) !== undefined
  }

  /**
   * A tensor by its full Hugging Face name, mapped and read-only (see SafetensorsFile.tensor).
   * @throws CheckpointError when it is missing or has another shape
   */
  get(name: string, shape: Shape): Tensor {
    const problem = this.#problem(name, shape)
    if (problem) throw new CheckpointError(problem.code, this.path, `${problem.text}; ${ADVICE}`)
    const stored = this.#stored(name)!
    return this.#tensors.get(stored)!.tensor(stored)
  }

  /**
   * Checks that all tensors of a model are there in the right shapes, before any of them is touched.
   * @param config of the model to be built; default: that of the folder
   * @param options.missing whether tensors may be missing, to be initialised
   * @returns names of tensors that the folder has and the model does not: those of a head that this model does without
   * @throws CheckpointError listing everything that is missing (with the nearest name there is), misshapen or unexpected
   */
  verify(config: ModelConfig = this.config, options: { missing?: boolean } = {}): string[] {
    const expected = tensorShapes(config)
    const wanted = new Set([...expected.keys()].map((name) => this.#stored(name)))
    const unexpected = this.names.filter((name) => !wanted.has(name))
    const problems = [...expected].flatMap(([name, shape]) => {
      if (options.missing && !this.has(name)) return []
      return this.#problem(name, shape, unexpected) ?? []
    })
    if (problems.length === 0) return unexpected
    const surplus = unexpected.length > 0 ? `; unexpected: ${unexpected.join(', ')}` : ''
    const texts = problems.map((p) => p.text).join('; ')
    throw new CheckpointError(problems[0]!.code, this.path, `${texts}${surplus}; ${ADVICE}`)
  }

  /** Closes the files. Tensors already taken stay valid. */
  close(): void {
    for (const file of this.#files) file.close()
  }

  /** As `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }

  #stored(name: string): string | undefined {
    if (this.#tensors.has(name)) return name
    const bare = name.startsWith('model.') ? name.slice('model.'.length) : undefined
    return bare !== undefined && this.#tensors.has(bare) ? bare : undefined
  }

  #problem(name: string, shape: Shape, others: readonly string[] = []): { code: string; text: string } | undefined {
    const stored = this.#stored(name)
    if (stored === undefined) {
      const near = suggest(name, others)
      const hint = near === undefined ? '' : ` (is it ${near}?)`
      return { code: 'ERR_CHECKPOINT_MISSING', text: `${name} ${shapeText(shape)} is missing${hint}` }
    }
    const actual = this.#tensors.get(stored)!.info(stored).shape
    if (actual.length === shape.length && actual.every((d, i) => d === shape[i])) return undefined
    return {
      code: 'ERR_CHECKPOINT_SHAPE',
      text: `${name} is ${shapeText(actual)}, but config.json makes it ${shapeText(shape)}`,
    }
  }
}

const ADVICE = 'config.json and the weights must be of the same model: download or save them again together'

/** The config of a model folder or a pulled model. @throws ConfigError; HubError for a model that has not been pulled */
export async function readFolderConfig(pathOrName: string): Promise<ModelConfig> {
  return readModelConfig(join(await modelFolder(pathOrName), 'config.json'))
}

/**
 * Opens a Hugging Face folder, or the one of a pulled model: config.json, and model.safetensors or the shards that
 * model.safetensors.index.json names.
 * @throws ConfigError for config.json; CheckpointError for the weights; HubError for a model that has not been pulled
 */
export async function openFolder(device: Device, pathOrName: string): Promise<ModelFolder> {
  const path = await modelFolder(pathOrName)
  const config = await readModelConfig(join(path, 'config.json'))
  const single = join(path, SINGLE)
  const index = join(path, INDEX)
  const sharded = !existsSync(single) && existsSync(index)
  const map = sharded ? readIndex(index) : null
  const files: SafetensorsFile[] = []
  try {
    for (const name of map ? new Set(map.values()) : [SINGLE]) files.push(openSafetensors(device, join(path, name)))
    return new ModelFolder(path, config, files, locate(files, map, path, index))
  } catch (error) {
    for (const file of files) file.close()
    throw error
  }
}

/** The file of every tensor; the index, if there is one, must agree with the shards. */
function locate(
  files: readonly SafetensorsFile[],
  map: ReadonlyMap<string, string> | null,
  path: string,
  index: string,
): Map<string, SafetensorsFile> {
  const located = new Map<string, SafetensorsFile>()
  for (const file of files)
    for (const name of file.names) {
      const twice = located.get(name)
      if (twice)
        throw new CheckpointError(
          'ERR_CHECKPOINT_INDEX',
          file.path,
          `${name} is also in ${twice.path}; download the shards again`,
        )
      located.set(name, file)
    }
  for (const [name, shard] of map ?? [])
    if (located.get(name)?.path !== join(path, shard))
      throw new CheckpointError(
        'ERR_CHECKPOINT_INDEX',
        index,
        `${name} is not in ${shard}, as the index says; download the folder again`,
      )
  return located
}

/** weight_map of an index file: tensor name to file name. */
function readIndex(path: string): Map<string, string> {
  const bad = (problem: string, cause?: unknown) =>
    new CheckpointError('ERR_CHECKPOINT_INDEX', path, `${problem}; download or save the folder again`, { cause })
  let json: unknown
  try {
    json = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw bad('it cannot be read as JSON', cause)
  }
  const map = typeof json === 'object' && json !== null && 'weight_map' in json ? json.weight_map : undefined
  if (typeof map !== 'object' || map === null || Array.isArray(map)) throw bad('it has no weight_map')
  const entries = Object.entries(map)
  if (entries.length === 0) throw bad('its weight_map is empty')
  for (const [name, file] of entries)
    if (typeof file !== 'string' || !/^[^/\\]+\.safetensors$/.test(file))
      // a path could lead out of the folder
      throw bad(
        `${JSON.stringify(name)} is said to be in ${JSON.stringify(file)}, which is no .safetensors file of the folder`,
      )
  return new Map(entries as [string, string][])
}

/** What a model folder is to hold. */
export interface FolderContent {
  config: ModelConfig
  /** All tensors of the config by full name; more are stored as they are. */
  tensors: readonly { name: string; tensor: Tensor }[]
  /** Storage of the float tensors; default: `config.dtype`. */
  dtype?: Exclude<DType, 'int32'>
  /** Folder, or pulled model, whose tokenizer files and chat template are copied. */
  tokenizerFrom?: string
  /** Keys of generation_config.json beyond the token ids of the config. */
  generationConfig?: Readonly<Record<string, unknown>>
  /** Keys of config.json beyond those of the config. */
  extraConfig?: Readonly<Record<string, unknown>>
  /** Largest size of a weight file before the next is begun; default 5 GB. A tensor is never split. */
  maxShardBytes?: number
  /** Writes further files into the folder before it takes its name. */
  also?: (directory: string) => Promise<void>
}

/**
 * Writes a Hugging Face folder that transformers, vLLM and llama.cpp's converter load: config.json, weights in one file or sharded,
 * generation_config.json and tokenizer files. It is written beside and takes the name when it is complete, replacing a model folder of that
 * name with all its files.
 * @throws CheckpointError when a tensor is missing or misshapen, or when `path` holds something other than a model; FileError
 */
export async function saveFolder(path: string, content: FolderContent): Promise<void> {
  checkTensors(path, content)
  await checkReplaceable(path)
  const dtype = content.dtype ?? content.config.dtype
  const config = { ...content.config, dtype }
  const tensors = content.tensors.map((t): NamedTensor => (t.tensor.dtype === 'int32' ? t : { ...t, dtype }))
  await replaceDirectory(path, async (directory) => {
    const json = (name: string, value: unknown) =>
      writeFileAtomic(join(directory, name), `${JSON.stringify(value, null, 2)}\n`)
    await json('config.json', configToJson(config, content.extraConfig))
    if (config.numLabels === undefined || content.generationConfig)
      await json('generation_config.json', { ...generationDefaults(config), ...content.generationConfig })
    if (content.tokenizerFrom !== undefined) await copyTokenizer(content.tokenizerFrom, directory)
    await writeWeights(directory, tensors, content.maxShardBytes ?? 5e9, json)
    await content.also?.(directory)
  })
}

async function writeWeights(
  directory: string,
  tensors: readonly NamedTensor[],
  maxShardBytes: number,
  json: (name: string, value: unknown) => Promise<void>,
): Promise<void> {
  const shards = shard(tensors, maxShardBytes)
  if (shards.length === 1) return writeSafetensors(join(directory, SINGLE), tensors)
  const total = String(shards.length).padStart(5, '0')
  const weightMap: Record<string, string> = {}
  for (const [i, part] of shards.entries()) {
    const file = `model-${String(i + 1).padStart(5, '0')}-of-${total}.safetensors`
    await writeSafetensors(join(directory, file), part)
    for (const { name } of part) weightMap[name] = file
  }
  const bytes = tensors.reduce((n, t) => n + storedBytes(t), 0)
  await json(INDEX, { metadata: { total_size: bytes }, weight_map: weightMap })
}

/** Tensors in order, a new file wherever the next one would exceed the limit. */
function shard(tensors: readonly NamedTensor[], maxBytes: number): NamedTensor[][] {
  const shards: NamedTensor[][] = [[]]
  let bytes = 0
  for (const tensor of tensors) {
    const more = storedBytes(tensor)
    if (bytes > 0 && bytes + more > maxBytes) {
      shards.push([])
      bytes = 0
    }
    shards.at(-1)!.push(tensor)
    bytes += more
  }
  return shards
}

function generationDefaults(config: ModelConfig): Record<string, unknown> {
  const eos = eosTokenIds(config)
  const ids = {
    bos_token_id: config.bosTokenId,
    eos_token_id: eos.length > 1 ? eos : eos[0],
    pad_token_id: config.padTokenId,
  }
  return Object.fromEntries(Object.entries(ids).filter(([, id]) => id != null))
}

async function copyTokenizer(pathOrName: string, directory: string): Promise<void> {
  const from = await modelFolder(pathOrName)
  const found = TOKENIZER_FILES.filter((name) => existsSync(join(from, name)))
  if (!found.includes('tokenizer.json'))
    throw new CheckpointError(
      'ERR_CHECKPOINT_TOKENIZER',
      from,
      'there is no tokenizer.json to copy; name the folder of the tokenizer',
    )
  for (const name of found) await copyFile(join(from, name), join(directory, name))
}

/** What is missing or misshapen would only be found when the folder is opened again: too late. */
function checkTensors(path: string, { config, tensors }: FolderContent): void {
  const given = new Map(tensors.map(({ name, tensor }) => [name, tensor.shape]))
  for (const [name, shape] of tensorShapes(config)) {
    const actual = given.get(name)
    if (!actual)
      throw new CheckpointError(
        'ERR_CHECKPOINT_MISSING',
        path,
        `${name} ${shapeText(shape)} is not among the tensors to save; add it`,
      )
    if (shapeText(actual) !== shapeText(shape))
      throw new CheckpointError(
        'ERR_CHECKPOINT_SHAPE',
        path,
        `${name} is ${shapeText(actual)}, but the config makes it ${shapeText(shape)}; correct one of them`,
      )
  }
}

/** Replacing a directory removes what is in it, so it must be new, empty, or plainly a model. */
async function checkReplaceable(path: string): Promise<void> {
  if (!existsSync(path)) return
  const refuse = (problem: string) =>
    new CheckpointError('ERR_CHECKPOINT_FOLDER', path, `${problem}; save to a new folder instead`)
  if (!(await stat(path)).isDirectory()) throw refuse('it is a file')
  const names = await readdir(path)
  if (names.length > 0 && !names.includes('config.json')) throw refuse('it holds other files and no model')
  const inner = names.find((name) => statSync(join(path, name)).isDirectory())
  if (inner) throw refuse(`it holds the folder ${inner}, which would be lost`)
}
