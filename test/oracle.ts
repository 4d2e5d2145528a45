import type { DivergenceKind } from '../lib/ops/divergence.js'

/**
 * Losses and their gradients in float64, written as the definitions read and not as the kernels compute them. Logits may be -inf: such a class
 * has probability 0, and a log-ratio with it is clamped to +-10,000 as the kernels document.
 */

/** Log-softmax of logits / temperature. */
export function logSoftmax(logits: ArrayLike<number>, temperature = 1): Float64Array {
  const x = Float64Array.from(logits, (v) => v / temperature)
  const max = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  let rest = -1 // sum of e^(x - max) beside the largest term: log1p keeps what a confident softmax has left
  for (const v of x) rest += Math.exp(v - max)
  const logZ = Math.log1p(rest)
  return x.map((v) => v - max - logZ)
}

const CLAMP = 1e4
const ratio = (a: number, b: number): number => (a === b ? 0 : Math.max(-CLAMP, Math.min(CLAMP, a - b)))

/** The divergence of one row and its gradient with respect to the student's logits. */
export function divergenceRow(
  kind: DivergenceKind,
  student: ArrayLike<number>,
  teacher: ArrayLike<number>,
  { temperature = 1, beta = 0.5 }: { temperature?: number; beta?: number } = {},
): { loss: number; grad: Float64Array; entropy: number } {
  const ls = logSoftmax(student, temperature)
  const lt = logSoftmax(teacher, temperature)
  const ps = ls.map(Math.exp)
  const pt = lt.map(Math.exp)
  const b = kind === 'generalizedJS' ? beta : 0.5
  const n = ls.length
  /** sum over classes of p_s g, taken around its value at the largest p_s so that float64 cancellation does not show either. */
  const centred = (g: (v: number) => number, scale: number): { grad: Float64Array; mean: number } => {
    let top = 0
    for (let v = 1; v < n; v++) if (ps[v]! > ps[top]!) top = v
    let mean = 0
    for (let v = 0; v < n; v++) mean += ps[v]! * (g(v) - g(top))
    return { grad: ps.map((p, v) => (scale * p * (g(v) - g(top) - mean)) / temperature), mean: mean + g(top) }
  }
  const sum = (f: (v: number) => number): number => ps.reduce((total, _, v) => total + f(v), 0)
  // log(p / m) with m = b p_t + (1 - b) p_s, for p = e^a and the other one e^o
  const overMixture = (a: number, o: number, share: number): number => -Math.log1p(share * Math.expm1(ratio(o, a)))
  const mixS = (v: number): number => overMixture(ls[v]!, lt[v]!, b)
  const mixT = (v: number): number => overMixture(lt[v]!, ls[v]!, 1 - b)
  const finiteMix =
    (f: (v: number) => number, direct: (v: number) => number) =>
    (v: number): number => {
      const x = f(v)
      return Number.isFinite(x) ? x : direct(v) // e^10000 overflows; then log(1 + share e^r) = r + log(share)
    }
  const gS = finiteMix(mixS, (v) => -(ratio(lt[v]!, ls[v]!) + Math.log(b)))
  const gT = finiteMix(mixT, (v) => -(ratio(ls[v]!, lt[v]!) + Math.log(1 - b)))
  const entropy = -sum((v) => (pt[v]! > 0 ? pt[v]! * lt[v]! : 0))
  const forward = () => ({
    loss: sum((v) => pt[v]! * ratio(lt[v]!, ls[v]!)),
    grad: ps.map(
      (p, v) =>
        (lt[v]! > ls[v]! ? pt[v]! * Math.expm1(ls[v]! - lt[v]!) : p > 0 ? -p * Math.expm1(lt[v]! - ls[v]!) : 0) /
        temperature,
    ),
  })
  const reverse = () => {
    const { grad, mean } = centred((v) => ratio(ls[v]!, lt[v]!), 1)
    return { loss: mean, grad }
  }
  switch (kind) {
    case 'forwardKL':
      return { ...forward(), entropy }
    case 'reverseKL':
      return { ...reverse(), entropy }
    case 'symmetricKL': {
      const f = forward()
      const r = reverse()
      return { loss: f.loss + r.loss, grad: f.grad.map((g, v) => g + r.grad[v]!), entropy }
    }
    case 'totalVariation': {
      const { grad } = centred((v) => Math.sign(ratio(ls[v]!, lt[v]!)), 0.5)
      return { loss: 0.5 * sum((v) => Math.abs(ps[v]! - pt[v]!)), grad, entropy }
    }
    default: {
      const { grad, mean } = centred(gS, 1 - b)
      return { loss: b * sum((v) => (pt[v]! > 0 ? pt[v]! * gT(v) : 0)) + (1 - b) * mean, grad, entropy }
    }
  }
}

/** Softmax cross entropy of one row with a label, or the forward KL from target probabilities, and its gradient. */
export function crossEntropyRow(
  logits: ArrayLike<number>,
  target: number | ArrayLike<number>,
): { loss: number; grad: Float64Array } {
  const l = logSoftmax(logits)
  if (typeof target === 'number')
    return { loss: -l[target]!, grad: l.map((x, v) => (v === target ? Math.expm1(x) : Math.exp(x))) }
  let loss = 0
  let mass = 0
  for (let v = 0; v < l.length; v++) {
    if (target[v]! > 0) loss += target[v]! * (Math.log(target[v]!) - l[v]!)
    mass += target[v]!
  }
  return { loss, grad: l.map((x, v) => mass * Math.exp(x) - target[v]!) }
}

/** x w^T in float64: x [rows, inner], w [cols, inner]. */
export function matmulTransposed(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  rows: number,
  cols: number,
  inner: number,
): Float64Array {
  const y = new Float64Array(rows * cols)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) {
      let sum = 0
      for (let k = 0; k < inner; k++) sum += x[r * inner + k]! * w[c * inner + k]!
      y[r * cols + c] = sum
    }
  return y
}

/** Arguments of `headOracle`: row-major matrices, labels of -100 are ignored. */
export interface HeadCase {
  hidden: ArrayLike<number>
  weight: ArrayLike<number>
  hiddenSize: number
  vocab: number
  labels: ArrayLike<number>
  teacher?: { hidden: ArrayLike<number>; weight: ArrayLike<number>; hiddenSize: number; vocab: number }
  kind?: DivergenceKind
  lambdaSft?: number
  lambdaKd?: number
  temperature?: number
  beta?: number
  scale?: number
  policy?: 'error' | 'truncate' | 'mask'
}

/** The distillation head in float64. */
export function headOracle(c: HeadCase) {
  const { hiddenSize: h, vocab, labels, teacher, kind, lambdaSft = 1, lambdaKd = 0, scale = 1, policy = 'error' } = c
  const tokens = labels.length
  const dhidden = new Float64Array(tokens * h)
  const dweight = new Float64Array(vocab * h)
  const tokenLoss = new Float64Array(tokens)
  const parts = { ce: 0, kd: 0, entropy: 0, agreement: 0, valid: 0 }
  const row = (a: ArrayLike<number>, i: number, n: number): number[] =>
    Array.from({ length: n }, (_, k) => a[i * n + k]!)
  for (let i = 0; i < tokens; i++) {
    const label = labels[i]!
    if (label === -100) continue
    parts.valid++
    const x = row(c.hidden, i, h)
    const s = matmulTransposed(x, c.weight, 1, vocab, h)
    const ce = crossEntropyRow(s, label)
    const d = ce.grad.map((g) => g * lambdaSft * scale)
    parts.ce += ce.loss
    tokenLoss[i] = lambdaSft * ce.loss
    if (teacher && kind) {
      const t = matmulTransposed(
        row(teacher.hidden, i, teacher.hiddenSize),
        teacher.weight,
        1,
        teacher.vocab,
        teacher.hiddenSize,
      )
      const n = policy === 'truncate' ? Math.min(vocab, teacher.vocab) : Math.max(vocab, teacher.vocab)
      const wide = (logits: Float64Array): Float64Array =>
        Float64Array.from({ length: n }, (_, v) => logits[v] ?? Number.NEGATIVE_INFINITY)
      const kd = divergenceRow(kind, wide(s), wide(t), c)
      for (let v = 0; v < Math.min(n, vocab); v++) d[v]! += kd.grad[v]! * lambdaKd * scale
      parts.kd += kd.loss
      parts.entropy += kd.entropy
      parts.agreement += argmax(wide(s)) === argmax(wide(t)) ? 1 : 0
      tokenLoss[i]! += lambdaKd * kd.loss
    }
    for (let v = 0; v < vocab; v++)
      for (let k = 0; k < h; k++) {
        dhidden[i * h + k]! += d[v]! * c.weight[v * h + k]!
        dweight[v * h + k]! += d[v]! * x[k]!
      }
  }
  return { loss: scale * (lambdaSft * parts.ce + lambdaKd * parts.kd), parts, dhidden, dweight, tokenLoss }
}

function argmax(x: Float64Array): number {
  let best = 0
  for (let v = 1; v < x.length; v++) if (x[v]! > x[best]!) best = v
  return best
}

/** Distribution function of the standard normal, to float64: a series near 0, a continued fraction in the tails. */
export function normalCdf(z: number): number {
  if (z > 0) return 1 - normalCdf(-z)
  const x = -z
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)
  if (x > 4) {
    let fraction = x
    for (let k = 60; k > 0; k--) fraction = x + k / fraction
    return density / fraction
  }
  let [term, sum] = [x, x]
  for (let k = 1; k < 100; k++) {
    term *= (x * x) / (2 * k + 1)
    sum += term
  }
  return 0.5 - density * sum
}
