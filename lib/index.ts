/**
 * LANTERN for Node: distil a large language model into a small encoder that rates how well a person fits a job and a small decoder that
 * explains the rating, and serve both. What is exported here is the public API, from the ground up; each layer is usable on its own.
 *
 * @module
 */

// Errors: every one has a `code` and a message that ends in what to do next. Seeded random numbers.

export {
  AddonError,
  ArgumentError,
  ChatTemplateError,
  CheckpointError,
  ConfigError,
  type ConfigProblem,
  DatasetError,
  DeviceError,
  DTypeError,
  EvaluationError,
  FileError,
  HubError,
  InputError,
  LanternError,
  MemoryError,
  OutOfMemoryError,
  ShapeError,
  TokenizerError,
} from './errors.js'
export { Random } from './random.js'

// Configuration: a YAML or JSON file against a zod schema, problems named with path, line and column.

export { loadConfig, parseConfig } from './config/config.js'

// The Hugging Face Hub: models by name, fetched into a cache where every function that takes a model's folder finds them.

export { modelFolder } from './hub/cache.js'
export {
  type PulledModel,
  type PullListener,
  type PullOptions,
  type PullPlan,
  type PullProgress,
  pullModel,
} from './hub/pull.js'

// Tensors: a device with one ordered stream, memory by scopes, gradients by a tape.

export { Device, type DeviceInfo, type DeviceOptions, type LaunchParams } from './tensor/device.js'
export type { DeviceKind } from './tensor/deviceKind.js'
export type { AddonInfo, CudaInfo, GpuInfo, KernelTiming, MemoryStats } from './tensor/native.js'
export { recompute } from './tensor/recompute.js'
export type { Scope } from './tensor/scope.js'
export { gradOf, needsGrad, recording, Tape, type TapeNode } from './tensor/tape.js'
export { type DType, type FloatDType, narrow, type Shape, Tensor, widen } from './tensor/tensor.js'

// Ops: one typed call each, recorded on the open tape when an input requires a gradient.

export { type AdamWStep, adamw, type ParameterEntry, type ParameterTable, parameterTable } from './ops/adamw.js'
export {
  type AttentionOptions,
  type AttentionQkvPackedOptions,
  attention,
  attentionQkvPacked,
  type HeadOptions,
  type SequenceOptions,
} from './ops/attention.js'
export { type CrossEntropyOptions, crossEntropy } from './ops/crossEntropy.js'
export {
  type DistillLoss,
  distillHead,
  type HeadLoss,
  type HeadOptions as LinearCrossEntropyOptions,
  IGNORE_INDEX,
  linearCrossEntropy,
  type VocabularyPolicy,
} from './ops/distillHead.js'
export { DIVERGENCES, type DivergenceKind, type DivergenceOptions, divergence } from './ops/divergence.js'
export {
  add,
  addScaled,
  cast,
  columns,
  concat,
  copyInto,
  countNonFinite,
  fill,
  multiply,
  scale,
} from './ops/elementwise.js'
export { embedding } from './ops/embedding.js'
export { geglu, gegluPacked } from './ops/geglu.js'
export { gradNorm } from './ops/gradNorm.js'
export { addLayerNorm, layerNorm } from './ops/layerNorm.js'
export { type Activation, type LinearOptions, linear } from './ops/linear.js'
export { type CacheWriteOptions, cacheWrite, type PagedAttentionOptions, pagedAttention } from './ops/pagedAttention.js'
export { firstToken, gatherRows, l2Normalize, lastToken, meanPooling } from './ops/pooling.js'
export type { QkvPacked } from './ops/qkvPacked.js'
export { addRmsNorm, headRmsNorm, rmsNorm } from './ops/rmsNorm.js'
export {
  type RopeOptions,
  type RopeQkvPackedOptions,
  type RopeTableOptions,
  type Rotation,
  rope,
  ropeQkvPacked,
  ropeTable,
} from './ops/rope.js'
export { type RowSampling, type SamplingBatch, sample } from './ops/sampling.js'
export { swiglu, swigluPacked } from './ops/swiglu.js'
export { type TopKLoss, type TopKTeacher, topKDivergence } from './ops/topKDivergence.js'

// Models: Hugging Face folders in and out, weights mapped.

export { eosTokenIds, type ModelConfig, type Pooling, type TwoTowerHead } from './models/config.js'
export { Decoder } from './models/decoder.js'
export type { DecoderConfig, LongRope } from './models/decoderConfig.js'
export { fileDigest, modelDigest } from './models/digest.js'
export { configToJson, parameterCount, parseModelConfig, readModelConfig, tensorShapes } from './models/families.js'
export { type FolderContent, type ModelFolder, openFolder, saveFolder } from './models/folder.js'
export { embed } from './models/gte.js'
export { randomWeights } from './models/initialise.js'
export { type Attend, Model, type WeightSource } from './models/model.js'
export { ModernBert } from './models/modernbert.js'
export type { ModernBertConfig } from './models/modernbertConfig.js'
export { type Packed, type PackOptions, pack, type Span } from './models/packed.js'
export { createDecoder, type LoadOptions, loadDecoder, loadModel } from './models/registry.js'
export {
  type HostArray,
  type HostTensor,
  type NamedTensor,
  openSafetensors,
  readSafetensorsSync,
  type SafetensorsFile,
  writeSafetensors,
} from './models/safetensors.js'
export type { StoredDType, TensorInfo } from './models/safetensorsHeader.js'
export { TwoTower } from './models/twoTower.js'

// Text: tokenizers and chat templates of Hugging Face folders.

export { type BpeTrainerOptions, CHAT_SPECIAL_TOKENS, trainByteLevelBpe } from './text/bpeTrainer.js'
export { type ChatSample, encodeChat, encodeChatSample } from './text/chat.js'
export { type ChatMessage, ChatTemplate } from './text/chatTemplate.js'
export { type NamedTokenizer, requireSameTokens } from './text/sameTokens.js'
export {
  type ChatTemplateOptions,
  type DecodeOptions,
  type EncodeOptions,
  type StreamDecoder,
  Tokenizer,
} from './text/tokenizer.js'
export type { AddedToken, TokenizerFiles, TokenizerJson } from './text/tokenizerFiles.js'
export { CHATML_TEMPLATE, type TokenizerConfigOptions, tokenizerFiles, writeTokenizer } from './text/writeTokenizer.js'

// Generation: continuous batching over a paged KV cache.

export {
  Engine,
  type EngineOptions,
  type EngineStep,
  type GeneratedToken,
  type GenerateOptions,
  type SamplingOptions,
} from './generate/engine.js'

// Training: packed micro-batches, AdamW, schedule, validation, checkpoints, resume.

export {
  BatchPlan,
  type Fitted,
  fitSamples,
  joined,
  type LongSamplePolicy,
  microBatches,
  type Sample,
  sequencesOf,
  weightOf,
} from './train/batches.js'
export { type AdamWOptions, Optimiser } from './train/optimiser.js'
export { listCheckpoints, type RunOptions, runTraining } from './train/run.js'
export { type Decay, learningRate, type ScheduleOptions } from './train/schedule.js'
export {
  DivergedError,
  type EvalReport,
  type LossParts,
  type Objective,
  type StepReport,
  type TrainEnd,
  Trainer,
  type TrainListener,
  type TrainOptions,
  type TrainState,
} from './train/trainer.js'

// The domain: job posts, profiles, the rubric that judges them, generated pairs and datasets.

export {
  type PairSample,
  type Provenance,
  pairSampleSchema,
  provenanceSchema,
  readDataset,
  readProvenance,
  type Split,
  splitDataset,
  toSample,
  writeDataset,
  writeProvenance,
} from './fit/dataset.js'
export {
  type ExplainedRequirement,
  type Explanation,
  type ExplanationScore,
  explain,
  parseExplanation,
  scoreExplanation,
} from './fit/explain.js'
export { type GeneratedPair, type GenerateOptions as GeneratePairsOptions, generatePairs } from './fit/generate.js'
export { type JobPost, parseJob } from './fit/job.js'
export type { LanguageLevel, LanguageSkill } from './fit/language.js'
export { type Education, type Experience, type Profile, parseProfile } from './fit/profile.js'
export { type FitPrompt, fitPrompt, splitPrompt } from './fit/prompt.js'
export type { Requirement, RequirementType } from './fit/requirement.js'
export {
  type Assessment,
  assess,
  type Finding,
  type FitLevel,
  levelOf,
  type Shortfall,
  type Status,
} from './fit/rubric.js'

// Distillation: what a training step learns from, and how a pair becomes a sample.

export {
  classification,
  type DistillationOptions,
  distillation,
  forwardFlops,
  languageModelling,
  type OfflineDistillationOptions,
  offlineDistillation,
} from './distill/objectives.js'
export {
  classifierPrompt,
  explanationPrompt,
  explanationSample,
  LEVELS,
  type LevelSampleOptions,
  levelSample,
} from './distill/samples.js'
export { type SignalGap, type SignalGapOptions, signalGaps } from './distill/signalGaps.js'
export {
  artefactDigest,
  artefactOf,
  beginStage,
  finishStage,
  planStage,
  type StageInputs,
  type StagePlan,
  type StageResult,
} from './distill/stageRecord.js'
export {
  type Outside,
  STAGE_LINKS,
  type StageKind,
  type StageLinks,
  type StageProblem,
  stageOrder,
  stageProblems,
} from './distill/stages.js'
export {
  type SampleSignal,
  type SignalError,
  samplesDigest,
  signalOf,
  TeacherSignal,
  TeacherSignalError,
  type TeacherSignalHeader,
  type TeacherSignalIdentity,
} from './distill/teacherSignal.js'
export { type WriteTeacherSignal, type WrittenSignal, writeTeacherSignal } from './distill/writeTeacherSignal.js'

// Planning: memory and time of a training step, from the configs alone.

export { CARDS, type Card } from './plan/cards.js'
export type { Place, PlanRequest } from './plan/changes.js'
export type { Shape as PlannedShape } from './plan/forward.js'
export type { HeadDevice } from './plan/head.js'
export type { CpuHead } from './plan/headCpu.js'
export { Ledger, type Part, type Sized, type Work } from './plan/ledger.js'
export { type Machine, machineOf } from './plan/machine.js'
export { type Plan, planTraining, type Remedy } from './plan/plan.js'
export { type Batches, largestMicroBatch, preflight, validationMicroBatch } from './plan/preflight.js'
export { publishedModels, resolveConfig } from './plan/published.js'
export { type MemoryPart, type MemoryPlan, type PlannedStep, planStep, type StepOptions } from './plan/step.js'
export { type TimeBound, type TimePart, timeBound } from './plan/time.js'

// Evaluation: the metrics of the field as their reference implementations compute them, and the report.

export { type BootstrapOptions, bootstrapClassification, bootstrapMean, type MeanInterval } from './eval/bootstrap.js'
export { expectedCalibrationError, fitTemperature, softmax } from './eval/calibration.js'
export { type ClassificationScores, type ClassScore, classificationScores } from './eval/classification.js'
export { NllAccumulator } from './eval/nll.js'
export { type BarPlot, type Curve, type CurvePlot, type Plot, renderPlot } from './eval/plot.js'
export { type Excerpt, type Report, renderReport, type Table, textTable } from './eval/report.js'
export {
  type CorpusRouge,
  type CorpusRougeScore,
  corpusRouge,
  ROUGE_KINDS,
  type RougeKind,
  type RougeOptions,
  type RougeScore,
  type RougeScores,
  rouge,
} from './eval/rouge.js'
export { type SelectiveScores, selectiveScores } from './eval/selective.js'

// Serving: both models behind one object, and an HTTP server over it.

export { Classifier, type ClassifierOptions } from './serve/classifier.js'
export { ServeError } from './serve/failure.js'
export {
  type ExplainOptions,
  type ExplainUsage,
  type FitRating,
  type FitResult,
  FitService,
  type FitServiceOptions,
  type ServiceStep,
} from './serve/fitService.js'
export { createServer, type ServerOptions } from './serve/server.js'
