import { homedir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { ArgumentError, HubError } from '../errors.js'
import { exists, restoreDirectory } from '../files.js'

/** A model of a hub. */
export interface ModelName {
  /** `owner/name`. */
  name: string
  /** A branch, a tag or a commit. */
  revision: string
}

const NAME = /^((?!\.)[\w.-]+\/(?!\.)[\w.-]+)(?:@(.+))?$/
const REVISION = /^(?!.*\.\.)\w[\w./+-]*$/ // becomes a part of paths and addresses

/**
 * Reads `owner/name` or `owner/name@revision`; the revision is `main` unless it is named.
 * @returns null for anything else, which may be a path
 */
export function parseModelName(text: string): ModelName | null {
  const [, name, revision = 'main'] = NAME.exec(text) ?? []
  return name !== undefined && REVISION.test(revision) ? { name, revision } : null
}

/** What `parseModelName` reads as this model. */
export const modelText = ({ name, revision }: ModelName): string => (revision === 'main' ? name : `${name}@${revision}`)

/** As `parseModelName`, with a revision given apart. @throws ArgumentError for what is no name or no revision */
export function requireModelName(text: string, revision?: string): ModelName {
  const model = parseModelName(text)
  if (!model)
    throw new ArgumentError(
      `${JSON.stringify(text)} is no name of a model; give owner/name, such as Qwen/Qwen2.5-0.5B-Instruct`,
    )
  if (revision !== undefined && !REVISION.test(revision))
    throw new ArgumentError(`${JSON.stringify(revision)} is no revision; give a branch, a tag or a commit`)
  return { ...model, ...(revision !== undefined && { revision }) }
}

/** Where a pulled model is kept: `LANTERN_HOME`, or ~/.cache/lantern, and in it models/owner/name/revision. */
export function cachedFolder({ name, revision }: ModelName): string {
  const home = process.env.LANTERN_HOME || join(homedir(), '.cache', 'lantern')
  return join(home, 'models', ...name.split('/'), encodeURIComponent(revision))
}

/** Where a model is gathered until it is complete: a folder beside its own. */
export function stagingFolder(folder: string): string {
  const target = resolve(folder)
  return join(dirname(target), `.${basename(target)}.partial`)
}

/** As `modelFolder`, with null for what is neither a folder nor the name of a pulled model, but could be either. */
export async function findModelFolder(pathOrName: string): Promise<string | null> {
  await restoreDirectory(pathOrName)
  const model = parseModelName(pathOrName)
  if (!model || (await exists(pathOrName))) return pathOrName
  const folder = cachedFolder(model)
  await restoreDirectory(folder)
  return (await exists(folder)) ? folder : null
}

/**
 * The folder of a model: a path to one as it is, and for the name of a pulled model, `owner/name` or `owner/name@revision`, its folder in the
 * cache. A folder of that path comes before a model of that name.
 * @throws HubError ERR_HUB_NOT_PULLED for a name that is neither
 */
export async function modelFolder(pathOrName: string): Promise<string> {
  const folder = await findModelFolder(pathOrName)
  if (folder !== null) return folder
  const model = parseModelName(pathOrName)!
  const part = await exists(stagingFolder(cachedFolder(model)))
  const found = part ? 'the model of that name has been pulled in part' : 'no model of that name has been pulled'
  throw new HubError(
    'ERR_HUB_NOT_PULLED',
    `${pathOrName}: there is no such folder, and ${found}; check the path, or run: lantern pull ${modelText(model)}`,
  )
}
