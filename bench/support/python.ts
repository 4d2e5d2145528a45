import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './root.js'

/** A Python with PyTorch. */
export interface Python {
  path: string
  python: string
  torch: string
  /** Null when it is not installed: the peers that need it are left out. */
  transformers: string | null
  safetensors: string | null
  /** Write the models of the rivals that are packages of npm. */
  gguf: string | null
  onnx: string | null
}

/** A script of bench/peers. */
export const peerScript = (name: string): string => join(root, 'bench', 'peers', name)

// Versions from the packages' metadata: importing them takes seconds.
const PROBE = `
import importlib.metadata as metadata, json, platform
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return None
print(json.dumps({'python': platform.python_version(), **{n: version(n) for n in ('torch', 'transformers', 'safetensors', 'gguf', 'onnx')}}))
`

/** Looks at a Python. Returns it, or why it is of no use. */
export function findPython(path: string): Python | string {
  const probe = spawnSync(path, ['-c', PROBE], { encoding: 'utf8', timeout: 120_000 })
  if (probe.error) return `${path} does not run (${probe.error.message}); name one that has torch with --python PATH`
  if (probe.status !== 0)
    return `${path} fails (${probe.stderr.trim().split('\n').at(-1)}); name another with --python PATH`
  const found = JSON.parse(probe.stdout) as Omit<Python, 'path' | 'torch'> & { torch: string | null }
  if (found.torch === null)
    return `${path} (Python ${found.python}) has no torch; install it there (pip install torch transformers safetensors) or name another with --python PATH`
  return { ...found, torch: found.torch, path }
}
