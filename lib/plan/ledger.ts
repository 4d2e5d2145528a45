import type { FloatDType } from '../tensor/tensor.js'

/** Parts of a step that memory and time are told by. */
export type Part = 'tokens' | 'teacher forward' | 'student forward' | 'head' | 'student backward' | 'optimiser'

/** Work of one kernel: a product's floating-point operations, in the dtype that it multiplies, and the bytes that must cross the memory bus. */
export interface Work {
  part: Part
  flops: number
  dtype: FloatDType
  bytes: number
}

/** A tensor of the imagined step: rows x cols elements of `width` bytes. */
export interface Sized {
  readonly rows: number
  readonly cols: number
  readonly width: number
}

/** A block of memory, and the part that took it. */
interface Block {
  bytes: number
  part: Part
}

/** An op as the tape keeps it; gradients are blocks of the ledger as well. */
interface Node {
  inputs: readonly (Sized | null)[]
  outputs: readonly Sized[]
  saved: readonly Sized[]
  backward(incoming: readonly (Sized | null)[]): readonly (Sized | null)[]
}

/** Bytes of a tensor. */
export const bytesOf = ({ rows, cols, width }: Sized): number => rows * cols * width

/**
 * Keeps the books of a step that is imagined: what lives, what the peak was and which part held what then, and the work of every kernel.
 * Ops record on it and `backward` walks them by the rules of lib/tensor/tape.ts and recompute.ts, with sizes in place of tensors: an op's outputs
 * and saved tensors live until its backward rule has run, gradients until their last user has, and one gradient may serve several tensors.
 */
export class Ledger {
  /** Bytes that live now, and that have lived at most. */
  live = 0
  peak = 0
  /** Bytes by part when the peak was. */
  atPeak: ReadonlyMap<Part, number> = new Map()
  /** The most bytes that a kernel has worked in beside its operands. */
  scratch = 0
  /** Of every kernel, in order. */
  readonly work: Work[] = []
  /** The part that takes and spends from now on. */
  part: Part = 'tokens'
  #nodes: Node[] | null = null
  readonly #blocks = new Map<Sized, Block>()
  readonly #parts = new Map<Part, number>()

  /** Whether ops are recorded. */
  get recording(): boolean {
    return this.#nodes !== null
  }

  /** A new tensor. */
  take(rows: number, cols: number, width: number): Sized {
    const t: Sized = { rows, cols, width }
    const block = { bytes: bytesOf(t), part: this.part }
    this.#blocks.set(t, block)
    this.live += block.bytes
    this.#parts.set(block.part, (this.#parts.get(block.part) ?? 0) + block.bytes)
    if (this.live > this.peak) {
      this.peak = this.live
      this.atPeak = new Map(this.#parts)
    }
    return t
  }

  /** A new tensor of another's shape and width. */
  like = (t: Sized): Sized => this.take(t.rows, t.cols, t.width)

  /** Gives tensors back; one that was given back already stays so. */
  give(...tensors: readonly (Sized | null)[]): void {
    for (const t of tensors) {
      const block = t && this.#blocks.get(t)
      if (!block) continue
      this.#blocks.delete(t)
      this.live -= block.bytes
      this.#parts.set(block.part, this.#parts.get(block.part)! - block.bytes)
    }
  }

  /** Notes the work of a kernel. */
  spend(bytes: number, flops = 0, dtype: FloatDType = 'float32'): void {
    this.work.push({ part: this.part, flops, dtype, bytes })
  }

  /** Notes what kernels work in beside their operands; nothing where that is not known. */
  workIn(...bytes: readonly (number | undefined)[]): void {
    for (const n of bytes) this.scratch = Math.max(this.scratch, n ?? 0)
  }

  /** Puts an op on the tape, where one is open. */
  record(node: Node): void {
    this.#nodes?.push(node)
  }

  /** Runs `fn` with a tape open, or without one. */
  taped<T>(on: boolean, fn: () => T): T {
    const before = this.#nodes
    this.#nodes = on ? [] : null
    const result = fn()
    this.#nodes = before
    return result
  }

  /** Runs `fn` and gives back all that it made but what it returns. */
  tidy<T extends Record<string, Sized | null>>(fn: () => T): T {
    const before = new Set(this.#blocks.keys())
    const result = fn()
    const kept = new Set(Object.values(result))
    for (const t of [...this.#blocks.keys()]) if (!before.has(t) && !kept.has(t)) this.give(t)
    return result
  }

  /** As recompute.ts: the outputs alone are kept, and the backward pass runs `fn` again. */
  recompute<T extends Record<string, Sized>>(inputs: readonly Sized[], fn: () => T): T {
    const result = this.taped(false, () => this.tidy(fn))
    this.record({
      inputs,
      outputs: Object.values(result),
      saved: [],
      backward: (incoming) =>
        this.taped(true, () => {
          const grads = new Gradients(this)
          Object.values(fn()).forEach((t, i) => {
            const g = incoming[i]
            if (!g) return
            grads.hold(g)
            grads.add(t, g)
          })
          this.#walk(grads)
          return inputs.map((t) => grads.get(t))
        }),
    })
    return result
  }

  /** As `Tape.backward`. The gradient of the last op's output is a single number. */
  backward(): void {
    this.part = 'student backward'
    const grads = new Gradients(this)
    const loss = this.#nodes!.at(-1)!.outputs[0]!
    grads.add(loss, this.take(1, 1, 4))
    this.#walk(grads)
  }

  #walk(grads: Gradients): void {
    const nodes = this.#nodes!
    this.#nodes = null
    for (const { inputs, outputs, saved, backward } of [...nodes].reverse()) {
      const incoming = outputs.map((t) => grads.get(t))
      const outgoing = incoming.some((g) => g) ? backward(incoming) : []
      for (const g of outgoing) if (g) grads.hold(g)
      inputs.forEach((t, k) => {
        const g = outgoing[k]
        if (t && g) grads.add(t, g)
      })
      for (const g of outgoing) if (g) grads.release(g)
      for (const t of outputs) grads.remove(t)
      this.give(...outputs, ...saved)
    }
  }
}

/** Gradients under way, by the rules of lib/tensor/tape.ts. */
class Gradients {
  readonly #of = new Map<Sized, Sized>()
  readonly #uses = new Map<Sized, number>()

  constructor(readonly ledger: Ledger) {}

  get(t: Sized): Sized | null {
    return this.#of.get(t) ?? null
  }

  hold(g: Sized): void {
    this.#uses.set(g, (this.#uses.get(g) ?? 0) + 1)
  }

  release(g: Sized): void {
    const left = this.#uses.get(g)! - 1
    this.#uses.set(g, left)
    if (left === 0) this.ledger.give(g)
  }

  /** The sum is taken in place where nobody else uses the gradient that was there. */
  add(t: Sized, g: Sized): void {
    const before = this.#of.get(t)
    if (before) this.ledger.spend(2 * bytesOf(before) + bytesOf(g))
    if (before && this.#uses.get(before) === 1) return
    const held = before ? this.ledger.like(before) : g
    this.#of.set(t, held)
    this.hold(held)
    if (before) this.release(before)
  }

  remove(t: Sized): void {
    const g = this.#of.get(t)
    if (!g) return
    this.#of.delete(t)
    this.release(g)
  }
}
