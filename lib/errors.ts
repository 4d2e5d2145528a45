/**
 * Base of every error that this package throws on purpose.
 * `code` is stable and machine-readable; the message ends in what to do next.
 */
export class LanternError extends Error {
  /** Stable identifier such as `EVALUATION_INPUT`, fit for a `switch`. */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** Predictions, references or counts that no metric can be computed from. */
export class EvaluationError extends LanternError {}

/** A tokenizer that cannot be read, written or trained, does not fit its model, or was given an id it does not have. */
export class TokenizerError extends LanternError {}

/** A chat template that is missing, does not compile, refuses the messages, or cannot be used for prompt masking. */
export class ChatTemplateError extends LanternError {}

/** One thing that is wrong in a configuration file. */
export interface ConfigProblem {
  /** Dotted path of the offending value, such as `train.stages[0].learningRate`; empty for the file as a whole. */
  path: string
  /** What is wrong and what would be right. */
  message: string
  /** 1-based line in the file, where known. */
  line?: number
  /** 1-based column in the file, where known. */
  column?: number
}

/** A configuration file that cannot be read or does not fit its schema; lists every problem at once. */
export class ConfigError extends LanternError {
  /** The file as it was named by the caller. */
  readonly file: string
  /** Every problem found, in the order of the file. */
  readonly problems: readonly ConfigProblem[]

  constructor(code: string, message: string, file: string, problems: readonly ConfigProblem[], options?: ErrorOptions) {
    super(code, message, options)
    this.file = file
    this.problems = problems
  }
}

/** A job post, a profile or another input that cannot be understood. */
export class InputError extends LanternError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_INPUT', message, options)
  }
}

/** A dataset file with a line that does not fit its schema; names the file and the 1-based line (0: the file as a whole). */
export class DatasetError extends LanternError {
  readonly file: string
  readonly line: number

  constructor(file: string, line: number, problem: string, options?: ErrorOptions) {
    super('ERR_DATASET', `${file}${line > 0 ? `:${line}` : ''}: ${problem}`, options)
    this.file = file
    this.line = line
  }
}

/** The native addon is missing or does not load; the message says what to run. */
export class AddonError extends LanternError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_ADDON', message, options)
  }
}

/** Shapes that do not fit together. */
export class ShapeError extends LanternError {
  constructor(message: string) {
    super('ERR_SHAPE', message)
  }
}

/** A dtype that an op does not take. */
export class DTypeError extends LanternError {
  constructor(message: string) {
    super('ERR_DTYPE', message)
  }
}

/** A device failed at what it was asked to do, or was used after it was closed. */
export class DeviceError extends LanternError {}

/** An option whose value an op cannot work with. */
export class ArgumentError extends LanternError {
  constructor(message: string) {
    super('ERR_ARGUMENT', message)
  }
}

/** Memory ran out; names what was asked and what is live. The device stays usable. */
export class OutOfMemoryError extends DeviceError {
  constructor(message: string) {
    super('ERR_OUT_OF_MEMORY', message)
  }
}

/** A training that a device has not the memory for, found out before anything was allocated; names the parts and what would make it fit. */
export class MemoryError extends LanternError {
  /** Bytes that the training needs. */
  readonly needed: number
  /** Bytes that there are. */
  readonly available: number

  constructor(message: string, { needed, available }: { needed: number; available: number }) {
    super('ERR_MEMORY', message)
    this.needed = needed
    this.available = available
  }
}

/** A file or folder that could not be written; what stood there before is untouched. `ERR_DISK_FULL` names the free space. */
export class FileError extends LanternError {
  /** The file or folder that was to be written. */
  readonly file: string

  constructor(code: string, message: string, file: string, options?: ErrorOptions) {
    super(code, message, options)
    this.file = file
  }
}

/** A checkpoint that is damaged, hostile, or does not hold what the model needs. */
export class CheckpointError extends LanternError {
  /** The file or folder at fault. */
  readonly file: string

  constructor(code: string, file: string, problem: string, options?: ErrorOptions) {
    super(code, `${file}: ${problem}`, options)
    this.file = file
  }
}

/** A model that cannot be pulled from a hub, or that has not been: the code tells why (ERR_HUB_NOT_PULLED, ERR_HUB_GATED, ERR_HUB_CHECKSUM and so on). */
export class HubError extends LanternError {}
