import { type ChildProcess, spawn } from 'node:child_process'
import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Bundles the command line into `folder`, laid out as the package is, without touching dist/. @returns the file to run */
export async function buildBinary(folder: string): Promise<string> {
  const input = join(root, 'lib/cli/main.ts')
  const outDir = join(folder, 'dist/cli')
  await build({
    root,
    configFile: false,
    logLevel: 'error',
    build: {
      ssr: input,
      outDir,
      target: 'es2022',
      minify: false,
      emptyOutDir: true,
      rollupOptions: { output: { entryFileNames: 'main.js' } },
    },
  })
  for (const name of ['node_modules', 'build', 'package.json']) await symlink(join(root, name), join(folder, name))
  return join(outDir, 'main.js')
}

/** A running command. */
export class Running {
  output = ''
  errors = ''
  readonly #child: ChildProcess
  readonly #end: Promise<{ code: number | null; signal: NodeJS.Signals | null }>

  constructor(main: string, args: readonly string[], env: Record<string, string> = {}) {
    this.#child = spawn(process.execPath, [main, ...args], { env: { ...process.env, ...env } })
    this.#child.stdout!.on('data', (data) => {
      this.output += data
    })
    this.#child.stderr!.on('data', (data) => {
      this.errors += data
    })
    this.#end = new Promise((resolve) => this.#child.on('close', (code, signal) => resolve({ code, signal })))
  }

  /** Resolves once the output matches; fails when the command ends without it. */
  async until(pattern: RegExp): Promise<void> {
    let ended = false
    void this.#end.then(() => {
      ended = true
    })
    while (!pattern.test(this.output)) {
      if (ended) throw new Error(`the command ended without ${pattern}:\n${this.output}\n${this.errors}`)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  end(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    return this.#end
  }
}
