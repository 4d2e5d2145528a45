import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileDigest } from '../models/digest.js'

/** What lantern data writes, in its order. */
const DATA_FILES: readonly string[] = ['train.jsonl', 'validation.jsonl', 'test.jsonl']

/** What a student reads of it. */
export const LEARNT: readonly string[] = ['train.jsonl', 'validation.jsonl']

/** Names of the files that there are in a folder of data. */
export const dataFiles = (folder: string, names = DATA_FILES): string[] =>
  names.filter((name) => existsSync(join(folder, name)))

/** Their SHA-256, by name. */
export async function dataDigests(folder: string, names?: readonly string[]): Promise<Record<string, string>> {
  const digests: Record<string, string> = {}
  for (const name of dataFiles(folder, names)) digests[name] = await fileDigest(join(folder, name))
  return digests
}
