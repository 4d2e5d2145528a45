import type { Tensor } from './tensor.js'

/**
 * Owns the tensors that are made while it is open, and disposes of them at its end:
 *
 *     using scope = device.scope()
 *     const y = linear(x, w)
 *     return scope.keep(y)      // outlives the scope (and then belongs to the one around it)
 *
 * Scopes nest and close in reverse order. Asynchronous code may hold one open across an `await` as long as no other code on the same
 * device opens one meanwhile; concurrent flows use `device.scope()` only in their synchronous parts.
 */
export class Scope {
  #tensors = new Set<Tensor>()
  readonly #close: (scope: Scope) => void

  /** @internal use Device.scope */
  constructor(close: (scope: Scope) => void) {
    this.#close = close
  }

  /** @internal */
  add(tensor: Tensor): void {
    this.#tensors.add(tensor)
  }

  /** Takes a tensor out of the scope: it lives on until it is disposed of. Returns it. */
  keep<T extends Tensor | null>(tensor: T): T {
    if (tensor) this.#tensors.delete(tensor)
    return tensor
  }

  /** Closes the scope and disposes of what it still owns. */
  [Symbol.dispose](): void {
    this.#close(this)
    for (const t of this.#tensors) t.dispose()
    this.#tensors.clear()
  }
}
