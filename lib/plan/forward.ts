import type { ModelConfig } from '../models/config.js'
import type { DecoderConfig } from '../models/decoderConfig.js'
import type { ModernBertConfig } from '../models/modernbertConfig.js'
import type { Ledger, Sized } from './ledger.js'
import type { Ops } from './ops.js'

// The forward passes of lib/models/decoder.ts and modernbert.ts, op by op, with sizes in place of tensors.

/** The sequences of a micro-batch; for two towers the pairs. */
export interface Shape {
  sequences: number
  /** Tokens of each; of both texts of a pair. */
  length: number
}

/** The texts that the body reads. */
export const textsOf = ({ twoTower }: ModelConfig, { sequences, length }: Shape): Shape =>
  twoTower ? { sequences: 2 * sequences, length: length / 2 } : { sequences, length }

/** The residual stream, and what is yet to be added to it (lib/models/residual.ts). */
type Residual = {
  x: Sized
  delta: Sized | null
}

type Layer = (i: number, before: Residual) => { x: Sized; delta: Sized }

/** What a model's body is made of, as `runLayers` of lib/models/residual.ts takes it. */
interface Body {
  start(): Residual
  layer: Layer
  end(last: Residual): Sized
}

/** A forward pass while the ledger records, if it does: the hidden states after the final norm. */
export function forward(ops: Ops, config: ModelConfig, of: Shape, recompute: boolean): Sized {
  const shape = textsOf(config, of)
  return config.modelType === 'modernbert'
    ? modernBert(ops, config as ModernBertConfig, shape, recompute)
    : decoder(ops, config as DecoderConfig, shape, recompute)
}

/** The class logits from the hidden states. */
export function classify(ops: Ops, config: ModelConfig, hidden: Sized, shape: Shape): Sized {
  const { numLabels = 2, hiddenSize, twoTower } = config
  const pooled = ops.pool(hidden, textsOf(config, shape).sequences)
  const width = 4
  if (twoTower) {
    const [u, v] = towers(ops, pooled, shape.sequences)
    if (twoTower.interaction === 'dot') return ops.linear(ops.multiply(u, v), numLabels, { width })
    return ops.linear(ops.linear(ops.concat(u, v), twoTower.hiddenSize, { activation: true }), numLabels, { width })
  }
  if (config.modelType === 'modernbert') {
    const dense = ops.linear(pooled, hiddenSize, { activation: true })
    return ops.linear(ops.norm(null, dense, 3).y, numLabels, { width })
  }
  const { classifierHiddenSize: dense } = config as DecoderConfig
  const features = dense === undefined ? pooled : ops.linear(pooled, dense, { activation: true })
  return ops.linear(features, numLabels, { width })
}

/** The vectors of the first texts and of the second, each picked by index (lib/models/twoTower.ts). */
function towers(ops: Ops, pooled: Sized, pairs: number): [Sized, Sized] {
  const every = () => {
    ops.ledger.take(pairs, 1, 4)
    return ops.pool(pooled, pairs)
  }
  return [every(), every()]
}

/** Pairs of a query and a key that it sees, over all sequences, of one head of layer `i`. */
export function pairs(config: ModelConfig, i: number, { sequences, length }: Shape): number {
  const window = config.slidingWindow?.[i] ?? length
  const reach = Math.min(length, config.causal ? window : window + 1) // keys on one side, the query's own among them
  const oneSide = reach * length - (reach * (reach - 1)) / 2
  return sequences * (config.causal ? oneSide : 2 * oneSide - length)
}

function decoder(ops: Ops, config: DecoderConfig, shape: Shape, recompute: boolean): Sized {
  const { ledger } = ops
  const { hiddenSize: h, intermediateSize: f, heads, kvHeads, headDim } = config
  const tokens = shape.sequences * shape.length
  const [qCols, kCols] = [heads * headDim, kvHeads * headDim]
  if (config.ropeScaling) ledger.take(tokens, 1, 4) // rows of its table
  const normed = (x: Sized, n: number) =>
    config.qkNorm ? ops.norm(null, x, 1, { rows: x.rows * n, width: ops.width }).y : x
  const project = (x: Sized) => {
    if (config.fusedProjections) return ops.ropeQkvPacked(ops.linear(x, qCols + 2 * kCols), qCols, kCols)
    const [q, k, v] = [ops.linear(x, qCols), ops.linear(x, kCols), ops.linear(x, kCols)]
    return { ...ops.rope(normed(q, heads), normed(k, kvHeads)), v }
  }
  const layer: Layer = (i, { x, delta }) => {
    const before = ops.norm(delta, x, 1)
    const { q, k, v } = project(before.y)
    const out = ops.attention(q, k, v, heads, pairs(config, i, shape))
    const between = ops.norm(ops.linear(out, h), before.sum, 1)
    const gated = config.fusedProjections
      ? ops.gatedUnit(f, ops.linear(between.y, 2 * f))
      : ops.gatedUnit(f, ops.linear(between.y, f), ops.linear(between.y, f))
    return { x: between.sum, delta: ops.linear(gated, h) }
  }
  const start = () => ({ x: ops.embedding(tokens, h), delta: null })
  const end = ({ x, delta }: Residual) => ops.norm(delta, x, 1).y
  return runLayers(ledger, config.layers, { start, layer, end }, recompute)
}

function modernBert(ops: Ops, config: ModernBertConfig, shape: Shape, recompute: boolean): Sized {
  const { hiddenSize: h, intermediateSize: f, heads } = config
  const embedded = () => ops.embedding(shape.sequences * shape.length, h)
  const start = () => ({ x: ops.norm(null, embedded(), 3, { width: 4 }).y, delta: null })
  const layer: Layer = (i, { x, delta }) => {
    const before = delta ? ops.norm(delta, x, 3) : { y: ops.width === 4 ? x : ops.cast(x), sum: x }
    const out = ops.attentionQkvPacked(ops.linear(before.y, 3 * h), heads, pairs(config, i, shape))
    const between = ops.norm(ops.linear(out, h), before.sum, 3)
    return { x: between.sum, delta: ops.linear(ops.gatedUnit(f, ops.linear(between.y, 2 * f)), h) }
  }
  const end = ({ x, delta }: Residual) => ops.norm(delta, x, 3).y
  return runLayers(ops.ledger, config.layers, { start, layer, end }, recompute)
}

/** Recorded, recorded to be computed again, or freed when the next layer has read it. */
function runLayers(ledger: Ledger, layers: number, { start, layer, end }: Body, recompute: boolean): Sized {
  const after = <T extends Record<string, Sized | null>>(before: Residual | null, run: () => T): T => {
    if (ledger.recording) return run()
    const made = ledger.tidy(run)
    if (before) ledger.give(before.x, before.delta)
    return made
  }
  let state = after(null, start)
  for (let i = 0; i < layers; i++) {
    const before = state
    const run = () => layer(i, before)
    const again = ledger.recording && recompute
    state = again ? ledger.recompute(before.delta ? [before.x, before.delta] : [before.x], run) : after(before, run)
  }
  const last = state
  return after(last, () => ({ y: end(last) })).y
}
