import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Peer, type PeerCase } from './peer.js'
import { type Python, peerScript } from './python.js'

/** Rivals that are packages of npm: the script of bench/peers that times one, and what writes its model, on a package of Python. */
export const NODE_RIVALS = {
  'llama.cpp': { package: 'node-llama-cpp', script: 'llama.mjs', writer: 'write_gguf.py', needs: 'gguf' },
  'ONNX Runtime': { package: 'onnxruntime-node', script: 'onnx.mjs', writer: 'write_onnx.py', needs: 'onnx' },
} as const

export type NodeRival = keyof typeof NODE_RIVALS

/** A folder in which some of them are installed. */
export interface NodePeers {
  folder: string
  /** Null when it is not installed. */
  versions: Readonly<Record<NodeRival, string | null>>
}

/** How to install them. */
const installation = (folder: string, rivals = Object.keys(NODE_RIVALS) as NodeRival[]): string =>
  `npm install --prefix ${folder} ${rivals.map((rival) => NODE_RIVALS[rival].package).join(' ')}`

/** Looks at a folder. Returns what it holds, or why it is of no use. */
export function findNodePeers(folder: string): NodePeers | string {
  const version = (rival: NodeRival): string | null => {
    const file = join(folder, 'node_modules', NODE_RIVALS[rival].package, 'package.json')
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version : null
  }
  const versions = { 'llama.cpp': version('llama.cpp'), 'ONNX Runtime': version('ONNX Runtime') }
  if (Object.values(versions).some((found) => found !== null)) return { folder, versions }
  return `${folder} has neither node-llama-cpp nor onnxruntime-node; install them there (${installation(folder)}) or name another folder with --node-peers DIR`
}

/**
 * Starts a rival on a model of random weights, which Python writes into a temporary folder; that goes when the peer is closed. Returns
 * why not, when something is missing.
 */
export function startNodePeer(
  rival: NodeRival,
  model: PeerCase,
  { threads, python, nodePeers }: { threads: number; python: Python | null; nodePeers: NodePeers },
): Peer | string {
  const { script, package: name, writer, needs } = NODE_RIVALS[rival]
  if (nodePeers.versions[rival] === null)
    return `${nodePeers.folder} has no ${name}; install it there (${installation(nodePeers.folder, [rival])})`
  if (!python) return `Python writes its model, with torch, transformers and ${needs}; name one with --python PATH`
  for (const each of ['transformers', needs] as const)
    if (python[each] === null) return `${python.path} has no ${each}, which writes its model; install it there with pip`
  const folder = mkdtempSync(join(tmpdir(), 'lantern-bench-'))
  const onClose = () => rmSync(folder, { recursive: true })
  const file = join(folder, 'model')
  const written = spawnSync(python.path, [peerScript(writer), file, JSON.stringify(model)], { encoding: 'utf8' })
  if (written.status === 0) {
    const args = [peerScript(script), String(threads), nodePeers.folder, file]
    return new Peer({ rival, command: [process.execPath, ...args], onClose })
  }
  onClose()
  return `${writer} fails (${written.error?.message ?? written.stderr.trim().split('\n').at(-1)})`
}
