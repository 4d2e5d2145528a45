import type { ModelConfig } from '../models/config.js'
import type { DecoderConfig } from '../models/decoderConfig.js'
import { parameterCount, tensorShapes } from '../models/families.js'
import { isOfBody } from '../models/model.js'
import { elements, type FloatDType } from '../tensor/tensor.js'
import { classify, forward, type Shape, textsOf } from './forward.js'
import { type HeadDevice, type HeadSide, head, headPlan } from './head.js'
import { Ledger, type Part } from './ledger.js'
import { Ops, type Storage, WIDTH } from './ops.js'
import { CudaScratch } from './scratchCuda.js'

// Memory of a training step, from the configs alone. P: parameters, of which a tied head counts once.
//
//   student's weights     2 P in bfloat16, 4 P in float32
//   master weights        4 P where the weights are bfloat16; in float32 the weights are their own
//   optimiser's moments   8 P: two of float32 (AdamW), and a table of 56 bytes a tensor
//   gradients             4 P: float32, accumulated over the micro-batches of a step
//   teacher's weights     2 or 4 bytes a parameter, as its file stores them; on the CPU they stay mapped, in pages that the system may take back
//   rope tables           4 headDim bytes a position, for all positions that the config allows
//   the rest              what lives at the peak of the step by the ledger's books (ledger.ts; ops.ts lists what each op keeps), by part
//   workspace             what the costliest kernel works in beside its operands: the distillation head (head.ts); on a GPU all are looked at
//                         (scratchCuda.ts), on the CPU the head alone

/** What is asked: a step of supervised fine-tuning, of distillation, of classification; or the forward pass of one. */
export interface StepOptions {
  student: ModelConfig
  /** Frozen. Absent: cross entropy with the labels alone. */
  teacher?: ModelConfig | null
  /** What is computed: a training step, or a forward pass without one (generation's prefill, encoding, classification). */
  mode?: 'train' | 'forward'
  /** Storage of the student's weights and of all activations. */
  precision: FloatDType
  /** Whether a classifier trains its head alone: the encoder's weights stay mapped, as the file stores them, and nothing of it is recorded. */
  frozen?: boolean
  /** Whether each layer is computed again in the backward pass. */
  recompute?: boolean
  /** Sequences of a micro-batch, and tokens of each; of two towers: pairs, and tokens of both texts. */
  sequences: number
  length: number
  /** The largest micro-batch of validation, which computes the same without gradients; absent: none, or none that is larger. */
  validation?: Shape | null
  device: HeadDevice
}

/** One line of a memory plan. */
export interface MemoryPart {
  name: string
  bytes: number
  /** Set for weights that are mapped from their file: read from the page cache, not allocated. */
  mapped?: boolean
}

/** Memory of a step. */
export interface MemoryPlan {
  /** Where the peak lies. */
  peak: 'training' | 'validation' | 'forward'
  parts: readonly MemoryPart[]
  /** What the device allocates at the peak: `device.memory().peak`. */
  allocated: number
  /** What kernels work in beside that, at most at once: `device.memory().workspace`. */
  workspace: number
  /** Both: what the device must have. */
  needed: number
}

/** A step whose books have been kept. */
export interface PlannedStep {
  memory: MemoryPlan
  /** Of one micro-batch, and the optimiser's. */
  ledger: Ledger
}

const AT_PEAK: Record<Exclude<Part, 'optimiser' | 'head'>, string> = {
  tokens: 'token buffers',
  'teacher forward': "teacher's states",
  'student forward': 'activations',
  'student backward': 'gradients of activations',
}

/** What runs at a time: its books, and the bytes of the head's workspace. */
interface Run {
  name: MemoryPlan['peak']
  ledger: Ledger
  workspace: number
}

/** Runs a step in the books: what it holds at its peak, and the work of its kernels. */
export function planStep(options: StepOptions): PlannedStep {
  const { student, teacher = null, mode = 'train', precision, frozen = false, validation, device } = options
  const train = mode === 'train'
  const stored: Storage = { weights: precision, activations: precision }
  const step = train ? microBatch('training', options, stored, options) : forwardPass(options, stored)
  const { ledger } = step
  const runs = train && validation ? [step, microBatch('validation', options, stored, validation)] : [step]
  const highest = runs.reduce((a, b) => (b.ledger.peak > a.ledger.peak ? b : a))
  const ofHead = Math.max(...runs.map((r) => r.workspace))
  const others = Math.max(...runs.map((r) => r.ledger.scratch))
  const workspace = Math.max(ofHead, others)
  const learns = (name: string) => !frozen || !isOfBody(name)
  const learning = [...tensorShapes(student)].filter(([name]) => learns(name))
  const count = learning.reduce((n, [, shape]) => n + elements(shape), 0)
  const held = parameterCount(student) - count
  if (train) {
    // gradNorm reads the gradients; AdamW reads and writes gradient, two moments and master, and writes the copy that the model reads
    const copy = precision === 'bfloat16' ? 2 : 0
    ledger.part = 'optimiser'
    ledger.workIn(scratchOf(device)?.gradNorm())
    ledger.spend(4 * count)
    ledger.spend((4 * 8 + copy) * count)
  }
  const atPeak = Object.entries(AT_PEAK).map(([part, name]) => ({
    name,
    bytes: highest.ledger.atPeak.get(part as Part) ?? 0,
  }))
  const parts: MemoryPart[] = [
    { name: frozen ? "the head's weights" : "student's weights", bytes: (frozen ? 4 : WIDTH[precision]) * count },
    {
      name: "the frozen encoder's weights",
      bytes: WIDTH[student.dtype] * held,
      ...(device.kind === 'cpu' && { mapped: true }),
    },
    { name: 'master weights', bytes: train && !frozen && precision === 'bfloat16' ? 4 * count : 0 },
    { name: "optimiser's moments", bytes: train ? 8 * count + 56 * learning.length : 0 },
    { name: 'gradients', bytes: train ? 4 * count : 0 },
    {
      name: "teacher's weights",
      bytes: teacher ? WIDTH[teacher.dtype] * parameterCount(teacher) : 0,
      ...(device.kind === 'cpu' && { mapped: true }),
    },
    { name: 'rope tables', bytes: ropeBytes(student) + (teacher ? ropeBytes(teacher) : 0) },
    ...atPeak,
    { name: ofHead >= others ? "the head's workspace" : 'workspace of kernels', bytes: workspace },
  ].filter(({ bytes }) => bytes > 0)
  const needed = parts.reduce((n, p) => n + (p.mapped ? 0 : p.bytes), 0)
  return { memory: { peak: highest.name, parts, allocated: needed - workspace, workspace, needed }, ledger }
}

/** ids, positions and cuSeqlens, int32. */
function tokenBuffers(ledger: Ledger, config: ModelConfig, shape: Shape): void {
  const { sequences, length } = textsOf(config, shape)
  ledger.part = 'tokens'
  ledger.take(2 * sequences * length + sequences + 1, 1, 4)
}

/** A micro-batch, as lib/distill/objectives.ts and lib/train/trainer.ts run it: forward and backward, or forward alone. */
function microBatch(name: 'training' | 'validation', options: StepOptions, stored: Storage, shape: Shape): Run {
  const { student, teacher, recompute = false, frozen = false, device } = options
  const { sequences, length } = shape
  const gradients = name === 'training'
  const tokens = sequences * length
  const classifier = student.numLabels !== undefined
  const ledger = new Ledger()
  tokenBuffers(ledger, student, shape)
  ledger.take(classifier ? sequences : tokens, 1, 4) // labels
  const theirs: Storage = { weights: teacher?.dtype ?? stored.weights, activations: stored.activations }
  ledger.part = 'teacher forward'
  const scratch = scratchOf(device)
  if (teacher) forward(new Ops(ledger, theirs, scratch), teacher, shape, false)
  ledger.part = 'student forward'
  const ops = new Ops(ledger, frozen ? { ...stored, weights: 'float32' } : stored, scratch)
  const body = frozen ? new Ops(ledger, { ...stored, weights: student.dtype }, scratch) : ops // its weights stay as the file stores them
  const still = frozen ? forward(body, student, shape, false) : null
  const workspace = ledger.taped(gradients, () => {
    const hidden = still ?? forward(ops, student, shape, recompute)
    if (classifier) classLoss(ops, student, hidden, shape)
    const sizes = {
      tokens,
      gradients,
      ...sideOf(student, stored),
      ...(teacher && { teacher: sideOf(teacher, theirs) }),
    }
    const plan = classifier ? null : headPlan(sizes, device)
    if (plan) head(ledger, hidden, sizes, plan)
    if (gradients) ledger.backward()
    return plan?.workspace ?? 0
  })
  return { name, ledger, workspace }
}

const scratchOf = (device: HeadDevice): CudaScratch | null =>
  device.kind === 'cuda' ? new CudaScratch(device.multiprocessors) : null

const sideOf = ({ hiddenSize: hidden, vocabSize: vocab }: ModelConfig, stored: Storage): HeadSide => ({
  hidden,
  vocab,
  stored,
})

/** lib/ops/crossEntropy.ts over the class logits. */
function classLoss(ops: Ops, student: ModelConfig, hidden: ReturnType<typeof forward>, shape: Shape): void {
  const { ledger } = ops
  const logits = classify(ops, student, hidden, shape)
  const loss = ledger.take(1, 1, 4)
  ledger.take(3, 1, 4)
  ledger.workIn(ops.scratch?.crossEntropy(logits.rows))
  if (!ledger.recording) return
  const dlogits = ledger.like(logits)
  ledger.record({ inputs: [logits], outputs: [loss], saved: [], backward: () => [dlogits] })
}

/** The states of every token, and for a classifier its logits; no logits of a vocabulary. */
function forwardPass({ student, sequences, length, device }: StepOptions, stored: Storage): Run {
  const shape = { sequences, length }
  const ledger = new Ledger()
  tokenBuffers(ledger, student, shape)
  ledger.part = 'student forward'
  const ops = new Ops(ledger, stored, scratchOf(device))
  const hidden = forward(ops, student, shape, false)
  if (student.numLabels !== undefined) classify(ops, student, hidden, shape)
  return { name: 'forward', ledger, workspace: 0 }
}

/** Bytes of the tables that lib/models makes: one row a position; two tables of a ModernBERT, two parts of a longrope. */
function ropeBytes(config: ModelConfig): number {
  const { headDim, maxPositionEmbeddings: positions } = config
  const scaling = (config as DecoderConfig).ropeScaling
  const tables = config.modelType === 'modernbert' ? 2 : 1
  return 4 * headDim * (tables * positions + (scaling?.originalMaxPositions ?? 0))
}
