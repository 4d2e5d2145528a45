/** What a GPU can do at most, by its maker's documents; nothing of it is measured. */
export interface Card {
  name: string
  /** Compute capability of its cubins. */
  architecture: `sm_${number}`
  multiprocessors: number
  /** Highest clock of a multiprocessor, in Hz. */
  clock: number
  /** Bytes of its memory. */
  memory: number
  /** Bytes a second from and to its memory. */
  bandwidth: number
  /** FLOP a second of dense bfloat16 products with float32 sums. */
  tensor: number
  /** float32 multiply-adds, and special functions, that a multiprocessor starts in a clock. */
  float32: number
  special: number
  source: string
}

/** The cards that plans and bounds are made for. */
export const CARDS: readonly Card[] = [
  {
    name: 'A100',
    architecture: 'sm_80',
    multiprocessors: 108,
    clock: 1.41e9,
    memory: 80 * 2 ** 30,
    bandwidth: 2.039e12,
    tensor: 312e12,
    float32: 64,
    special: 16,
    source: 'SXM, 80 GB. Memory: A100 data sheet of 2021; the rest: A100 architecture white paper, table 1',
  },
  {
    name: 'H100',
    architecture: 'sm_90',
    multiprocessors: 132,
    clock: 1.98e9,
    memory: 80 * 2 ** 30,
    bandwidth: 3.35e12,
    tensor: 989.4e12,
    float32: 128,
    special: 16,
    source: 'SXM5, 80 GB. Memory: H100 data sheet; the rest: H100 architecture white paper, tables 1 to 3',
  },
  {
    name: 'RTX 4090',
    architecture: 'sm_89',
    multiprocessors: 128,
    clock: 2.52e9,
    memory: 24 * 2 ** 30,
    bandwidth: 1.008e12,
    tensor: 165.2e12,
    float32: 128,
    special: 16,
    source: 'Ada architecture white paper, appendix A (tensor cores with float32 sums)',
  },
]
