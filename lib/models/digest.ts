import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointError } from '../errors.js'
import { hashFile } from '../files.js'
import { modelFolder } from '../hub/cache.js'
import { TOKENIZER_FILES } from './folder.js'

/** SHA-256 of a file's bytes, hexadecimal. @throws the file system's error when it cannot be read */
export const fileDigest = (path: string): Promise<string> => hashFile(path, createHash('sha256'))

const decisive = (name: string): boolean =>
  name === 'config.json' || /\.safetensors(\.index\.json)?$/.test(name) || TOKENIZER_FILES.includes(name)

/**
 * SHA-256 of what a model folder computes with: config, weights and tokenizer; not of what it was made with.
 * @param pathOrName a folder, or the name of a pulled model
 * @throws CheckpointError for a folder without a model; HubError for a model that has not been pulled
 */
export async function modelDigest(pathOrName: string): Promise<string> {
  const folder = await modelFolder(pathOrName)
  const names = (await readdir(folder).catch(() => [])).filter(decisive).sort()
  if (!names.includes('config.json'))
    throw new CheckpointError('ERR_CHECKPOINT_MISSING', folder, 'there is no config.json; name the folder of a model')
  const hash = createHash('sha256')
  for (const name of names) hash.update(`${name}:${await fileDigest(join(folder, name))}\n`)
  return hash.digest('hex')
}
