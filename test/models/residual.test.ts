import { expect, test } from 'vitest'
import { buildModel } from '../../lib/models/families.js'
import { randomWeights } from '../../lib/models/initialise.js'
import type { Model } from '../../lib/models/model.js'
import { pack } from '../../lib/models/packed.js'
import { Tape } from '../../lib/tensor/tape.js'
import { MODERNBERT, tinyConfig } from '../configs.js'
import { testDevice } from '../support.js'

const device = testDevice()
const configs = { qwen2: tinyConfig(), modernbert: MODERNBERT }

for (const [name, config] of Object.entries(configs))
  test(`of a pass of ${name} that is not recorded nothing is left but the hidden states, with the same bits`, async () => {
    const build = (): Model => buildModel(device, config, randomWeights(device, { seed: 1, layers: config.layers }))
    using model = build()
    using _scope = device.scope()
    const batch = pack(device, [Int32Array.from({ length: 40 }, (_, i) => i), Int32Array.of(5, 7, 9)])
    const { live } = device.memory()
    const hidden = model.forward(batch)
    expect(device.memory().live - live).toBeLessThan(hidden.bytes + 256)

    model.trainable()
    using _tape = new Tape(device)
    const recorded = model.forward(batch)
    expect(device.memory().live - live).toBeGreaterThan(10 * hidden.bytes)
    expect(await recorded.floats()).toEqual(await hidden.floats())

    model.trainable('head') // a body that is frozen is as good as not recorded
    const before = device.memory().live
    const frozen = model.forward(batch)
    expect(device.memory().live - before).toBeLessThan(frozen.bytes + 256)
  })
