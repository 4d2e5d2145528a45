import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import * as lantern from '../lib/index.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const lib = join(root, 'lib')

/** The layers of lib/, as DESIGN.md lists them from the top: a folder imports only from those above it. */
function layers(): string[] {
  const design = readFileSync(join(root, 'docs/DESIGN.md'), 'utf8')
  return [...design.matchAll(/^ {4}lib\/(\S+)/gm)].map((m) => m[1]!.replace(/\/$/, ''))
}

/** Source files of lib/ and what each imports from lib/, as paths relative to it. */
function imports(): { file: string; from: string[] }[] {
  return readdirSync(lib, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((file) => {
      const { importedFiles } = ts.preProcessFile(readFileSync(join(lib, file), 'utf8'))
      const local = importedFiles.filter(({ fileName }) => fileName.startsWith('.'))
      return { file, from: local.map(({ fileName }) => relative(lib, join(lib, dirname(file), fileName))) }
    })
}

/** The first folder of a path in lib/, or the file itself. */
const layerOf = (path: string): string =>
  (path.includes('/') ? path.slice(0, path.indexOf('/')) : path).replace(/\.js$/, '.ts')

describe('layers', () => {
  const order = layers()
  const files = imports()

  it('are all in the list of DESIGN.md, and all of the list exist', () => {
    expect(new Set(files.map(({ file }) => layerOf(file)))).toEqual(new Set(order))
    for (const layer of order) expect(existsSync(join(lib, layer)), layer).toBe(true)
  })

  it('import only from those above them', () => {
    const wrong = files.flatMap(({ file, from }) =>
      from
        .filter(
          (path) => layerOf(path) !== layerOf(file) && order.indexOf(layerOf(path)) >= order.indexOf(layerOf(file)),
        )
        .map((path) => `${file} imports ${path}`),
    )
    expect(wrong).toEqual([])
  })

  it('of the tensors import only the addon and the errors; nothing imports the command line', () => {
    const layersOf = (layer: string) =>
      new Set(files.filter(({ file }) => layerOf(file) === layer).flatMap(({ from }) => from.map(layerOf)))
    expect(layersOf('tensor')).toEqual(new Set(['errors.ts', 'tensor']))
    const fromCli = files.filter(
      ({ file, from }) => layerOf(file) !== 'cli' && from.some((path) => layerOf(path) === 'cli'),
    )
    expect(fromCli).toEqual([])
  })
})

describe('the public API', () => {
  const index = join(lib, 'index.ts')
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [index] }, ts.sys, root)
  const program = ts.createProgram([index], options)
  const checker = program.getTypeChecker()
  const exported = checker
    .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(index)!)!)
    .map((symbol) => ({
      name: symbol.name,
      onlyType: symbol.declarations!.some((d) => ts.isTypeOnlyExportDeclaration(d)),
      symbol: symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
    }))
  const documented = (symbol: ts.Symbol) =>
    ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim() !== ''
  const internal = (symbol: ts.Symbol) => symbol.getJsDocTags().some(({ name }) => name === 'internal')

  it('has the names of every layer', () => {
    const names = exported.map(({ name }) => name)
    const one =
      'Device Tape distillHead Decoder loadModel Tokenizer Engine Trainer distillation FitService createServer'
    expect(names).toEqual(expect.arrayContaining(one.split(' ')))
  })

  it('documents every name', () => {
    expect(exported.filter(({ symbol }) => !documented(symbol)).map(({ name }) => name)).toEqual([])
  })

  it('documents every public method and accessor of its classes', () => {
    const missing = exported.flatMap(({ name, symbol }) =>
      [...(symbol.members?.values() ?? []), ...(symbol.exports?.values() ?? [])]
        .filter((member) => symbol.flags & ts.SymbolFlags.Class && isPublicMember(member) && !internal(member))
        .filter((member) => !documented(member))
        .map((member) => `${name}.${member.name}`),
    )
    expect(missing).toEqual([])
  })

  it('exports nothing that is marked as internal', () => {
    expect(exported.filter(({ symbol }) => internal(symbol)).map(({ name }) => name)).toEqual([])
  })

  it('loads, with every value that it declares', () => {
    const values = exported.filter(({ symbol, onlyType }) => symbol.flags & ts.SymbolFlags.Value && !onlyType)
    expect(Object.keys(lantern).sort()).toEqual(values.map(({ name }) => name).sort())
    expect(Object.entries(lantern).filter(([, value]) => value === undefined)).toEqual([])
  })
})

/** Methods and accessors that callers see, without those of well-known symbols such as Symbol.dispose. */
function isPublicMember(member: ts.Symbol): boolean {
  const callable = member.flags & (ts.SymbolFlags.Method | ts.SymbolFlags.Accessor)
  const hidden = member.declarations?.some(
    (d) =>
      ts.getCombinedModifierFlags(d) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected) ||
      (ts.isClassElement(d) && d.name && (ts.isPrivateIdentifier(d.name) || ts.isComputedPropertyName(d.name))),
  )
  return Boolean(callable) && !hidden
}
