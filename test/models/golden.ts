import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import type { Model } from '../../lib/models/model.js'
import { readSafetensorsSync } from '../../lib/models/safetensors.js'
import type { Sample } from '../../lib/train/batches.js'
import { relativeError } from '../support.js'

/** Folder of a fixture: a model and what transformers computes of it in float64; test/fixtures/made-with.json says which version. */
export const fixture = (name: string): string => `test/fixtures/models/${name}`

/** Tensors of a fixture's expected.safetensors. */
export type Golden = ReturnType<typeof readSafetensorsSync>

export const goldenOf = (name: string): Golden => readSafetensorsSync(`${fixture(name)}/expected.safetensors`)

/** Losses and greedy continuations of a fixture. */
export const expectedOf = (name: string) => JSON.parse(readFileSync(`${fixture(name)}/expected.json`, 'utf8'))

/** The packed sequences of a fixture as samples. */
export function samplesOf(golden: Golden): Sample[] {
  const ids = golden.input_ids!.data as Int32Array
  const labels = (golden.labels?.data as Int32Array | undefined) ?? new Int32Array(ids.length).fill(-100)
  const cu = golden.cu_seqlens!.data as Int32Array
  return Array.from({ length: cu.length - 1 }, (_, i) => ({
    ids: ids.slice(cu[i], cu[i + 1]),
    labels: labels.slice(cu[i], cu[i + 1]),
  }))
}

/** How far gradients are off: all as one vector, and each tensor's. */
export interface GradientErrors {
  all: number
  tensors: Record<string, number>
}

/** Compares the gradients of all parameters; names of the file may lack the `model.` prefix. */
export async function gradientErrors(model: Model, wanted: Golden, prefix: string): Promise<GradientErrors> {
  const tensors: Record<string, number> = {}
  const [have, want]: number[][] = [[], []]
  for (const [name, parameter] of model.parameters) {
    const golden = wanted[`${prefix}.${name}`] ?? wanted[`${prefix}.${name.replace(/^model\./, '')}`]
    const [a, b] = [await parameter.grad!.floats(), golden!.data as Float32Array]
    tensors[name] = relativeError(a, b)
    have!.push(...a)
    want!.push(...b)
  }
  return { all: relativeError(have!, want!), tensors }
}

/** Expects small gradient errors: of all together, and of the worst tensor. */
export function expectSmall({ all, tensors }: GradientErrors, limit: number, worst = limit): void {
  expect(all).toBeLessThan(limit)
  expect(Math.max(...Object.values(tensors)), JSON.stringify(tensors)).toBeLessThan(worst)
}
