/** The domain: job posts, profiles, the rubric that judges their fit, its explanation, prompts, and data. */

export { Random } from '../random.js'
export * from './dataset.js'
export * from './explain.js'
export { type Fact, type Facts, profileFacts } from './facts.js'
export * from './generate.js'
export { type JobPost, parseJob } from './job.js'
export type { LanguageLevel, LanguageSkill } from './language.js'
export { type Education, type Experience, type Profile, parseProfile } from './profile.js'
export * from './prompt.js'
export type { Requirement, RequirementType } from './requirement.js'
export * from './rubric.js'
