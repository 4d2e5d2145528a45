/** One occupational field as the catalogue describes it. */
export type FieldData = {
  /** Key of the field's skill table. */
  readonly id: string
  /** What experience in this field is called: "5+ years in nursing". */
  readonly area: string
  /** Other names of the area in posts. */
  readonly areaNames: readonly string[]
  readonly titles: readonly string[]
  /** Lower-case words that place somebody's job title in this field. */
  readonly titleWords: readonly string[]
  readonly degrees: readonly string[]
  readonly certificates: readonly string[]
  /** Industry sectors, names of the sector skill table. */
  readonly sectors: readonly string[]
  /** Kinds of employer, keys of the company names. */
  readonly employers: readonly (
    | 'hospital'
    | 'clinic'
    | 'care home'
    | 'trade'
    | 'transport'
    | 'office'
    | 'plant'
    | 'tech'
    | 'kitchen'
  )[]
  readonly duties: readonly string[]
  readonly feats: readonly string[]
}
