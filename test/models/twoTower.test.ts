import { join } from 'node:path'
import { describe, expect, it, test } from 'vitest'
import type { TwoTowerHead } from '../../lib/models/config.js'
import { openFolder, saveFolder } from '../../lib/models/folder.js'
import { pack } from '../../lib/models/packed.js'
import { loadDecoder, loadModel } from '../../lib/models/registry.js'
import { readSafetensorsSync } from '../../lib/models/safetensors.js'
import { TwoTower } from '../../lib/models/twoTower.js'
import { crossEntropy } from '../../lib/ops/crossEntropy.js'
import { Tape } from '../../lib/tensor/tape.js'
import { relativeError, testDevice } from '../support.js'
import { temporaryFolder } from '../tiny.js'
import { expectedOf, fixture, type Golden, goldenOf } from './golden.js'

const device = testDevice()
const root = temporaryFolder()
const floats = (golden: Golden, name: string) => golden[name]!.data as Float32Array

/** Job post, profile, job post, profile ... */
function pairsOf(golden: Golden): Int32Array[] {
  const [jobs, profiles] = ['job', 'profile'].map((tower) => {
    const ids = golden[`${tower}.input_ids`]!.data as Int32Array
    const cu = golden[`${tower}.cu_seqlens`]!.data as Int32Array
    return Array.from({ length: cu.length - 1 }, (_, i) => ids.slice(cu[i], cu[i + 1]))
  }) as [Int32Array[], Int32Array[]]
  return jobs.flatMap((job, i) => [job, profiles[i]!])
}

/** The fixture's encoder under a head of its heads.safetensors, saved as we save it and opened again. */
async function towers(name: string, interaction: TwoTowerHead['interaction']): Promise<TwoTower> {
  const heads = readSafetensorsSync(`${fixture(name)}/heads.safetensors`)
  using folder = await openFolder(device, fixture(name))
  const hiddenSize = heads['concat.dense.bias']!.data.length
  const twoTower: TwoTowerHead = interaction === 'dot' ? { interaction } : { interaction, hiddenSize }
  const numLabels = 3
  const config = {
    ...folder.config,
    numLabels,
    id2label: ['low', 'medium', 'high'],
    twoTower,
    ...(name.endsWith('modernbert') && { pooling: 'mean' as const }),
  }
  using _scope = device.scope()
  const head = Object.entries(heads).flatMap(([key, { data, shape }]) =>
    key.startsWith(`${interaction}.`)
      ? [{ name: key.replace(interaction, 'two_tower'), tensor: device.tensor(data as Float32Array, shape) }]
      : [],
  )
  const body = folder.names.map((tensor) => ({
    name: tensor,
    tensor: folder.get(tensor, readSafetensorsSync(`${fixture(name)}/model.safetensors`)[tensor]!.shape),
  }))
  const path = join(root, `${name}-${interaction}`)
  await saveFolder(path, { config, tensors: [...body, ...head] })
  const model = await loadModel(device, path, { trainable: true })
  expect(model).toBeInstanceOf(TwoTower)
  expect(model.config).toEqual(config)
  return model as TwoTower
}

const losses = (golden: Golden) => ({
  ce: {
    labels: () => device.tensor(golden.class_labels!.data as Int32Array),
    options: { classWeights: device.tensor(floats(golden, 'class_weights')) },
  },
  fkl: { labels: () => device.tensor(floats(golden, 'soft_labels'), [4, 3]), options: {} },
})

describe.each(['two-tower-qwen2', 'two-tower-modernbert'])('%s against float64', (name) => {
  const golden = goldenOf(name)
  const pairs = pairsOf(golden)

  test.each(['concat', 'dot'] as const)('logits, losses and every gradient of %s', async (interaction) => {
    using model = await towers(name, interaction)
    for (const [loss, { labels, options }] of Object.entries(losses(golden))) {
      for (const p of model.parameters.values()) {
        p.grad?.dispose()
        p.grad = null
      }
      using tape = new Tape(device)
      const logits = model.classify(pack(device, pairs))
      const values = logits.floats()
      const { loss: mean } = crossEntropy(logits, labels(), { ...options, scale: 1 / 4 })
      tape.backward(mean)
      expect(relativeError(await values, floats(golden, `${interaction}.logits`))).toBeLessThan(2e-5)
      expect(Math.abs((await mean.item()) / expectedOf(name)[interaction][loss] - 1)).toBeLessThan(2e-5)
      for (const [tensor, p] of model.parameters) {
        const want = floats(golden, `grad.${interaction}.${loss}.${tensor.replace('two_tower.', '')}`)
        expect(relativeError(await p.grad!.floats(), want), `${loss} ${tensor}`).toBeLessThan(2e-5)
      }
    }
  })

  it('encodes each text as it does alone', async () => {
    using model = await towers(name, 'dot')
    const pooled = await model.encode(pack(device, pairs)).floats()
    const each = [floats(golden, 'job.pooled'), floats(golden, 'profile.pooled')]
    const width = model.config.hiddenSize
    for (let i = 0; i < pairs.length; i++)
      expect(
        relativeError(
          pooled.subarray(i * width, (i + 1) * width),
          each[i % 2]!.subarray((i >> 1) * width, ((i >> 1) + 1) * width),
        ),
      ).toBeLessThan(2e-5)
  })

  it('records nothing of a frozen encoder', async () => {
    using model = await towers(name, 'concat')
    model.trainable('head')
    using tape = new Tape(device)
    const recorded: string[] = []
    const record = tape.record.bind(tape)
    tape.record = (node) => {
      recorded.push(node.name)
      record(node)
    }
    const { labels } = losses(golden).ce
    const { loss } = crossEntropy(model.classify(pack(device, pairs)), labels(), { scale: 1 / 4 })
    tape.backward(loss)
    expect(recorded).toEqual(['linear', 'linear', 'crossEntropy'])
    const moved = [...model.parameters].flatMap(([tensor, { grad }]) => (grad ? [tensor] : []))
    expect(moved).toEqual(['two_tower.dense.weight', 'two_tower.dense.bias', 'two_tower.score.weight'])
  })

  it('writes no text', async () => {
    using _saved = await towers(name, 'dot')
    await expect(loadDecoder(device, join(root, `${name}-dot`))).rejects.toThrow('is a classifier of two towers')
  })

  it('takes pairs only', async () => {
    using model = await towers(name, 'dot')
    expect(() => model.classify(pack(device, pairs.slice(1)))).toThrow('there are 7 sequences')
  })
})

test('a tower without a head is named, and a pooling that the family lacks', async () => {
  await expect(
    loadModel(device, fixture('two-tower-qwen2'), {
      config: { numLabels: 3, twoTower: { interaction: 'concat', hiddenSize: 24 } },
    }),
  ).rejects.toThrow(/two_tower\.dense\.weight \[24, 64\] is missing.*two_tower\.score\.weight \[3, 24\] is missing/)
  await expect(loadModel(device, fixture('two-tower-qwen2'), { config: { pooling: 'cls' } })).rejects.toThrow(
    'pooling is cls; a model of the family qwen2 has last, mean',
  )
  await expect(loadModel(device, fixture('two-tower-modernbert'), { config: { pooling: 'last' } })).rejects.toThrow(
    'pooling is last; a model of the family modernbert has cls, mean',
  )
})

test('a decoder pools the mean of a sequence where its config says so', async () => {
  using model = await loadModel(device, fixture('qwen2-seqcls'), { config: { pooling: 'mean' } })
  const sequences = [[5, 6, 7], [8]]
  const batch = pack(device, sequences)
  const [hidden, pooled] = [await model.forward(batch).floats(), await model.encode(batch).floats()]
  const width = model.config.hiddenSize
  const row = (i: number) => hidden.subarray(i * width, (i + 1) * width)
  const mean = row(0).map((x, i) => (x + row(1)[i]! + row(2)[i]!) / 3)
  expect(relativeError(pooled, [...mean, ...row(3)])).toBeLessThan(1e-6)
})
