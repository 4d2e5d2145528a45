/** Edit distance that counts a swap of neighbours as one (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  let older: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      let best = Math.min(previous[j]! + 1, current[j - 1]! + 1, substitution)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, older[j - 2]! + 1)
      current.push(best)
    }
    older = previous
    previous = current
  }
  return previous[b.length]!
}

/**
 * The known word that was probably meant, or undefined when none is close: at most a third of its letters differ.
 * Case, hyphens and underscores do not count, so `learning_rate` finds `learningRate`.
 */
export function suggest(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replace(/[-_]/g, '')
  const wanted = plain(word).slice(0, 64)
  let best: string | undefined
  let bestDistance = Infinity
  for (const candidate of known) {
    const distance = editDistance(wanted, plain(candidate))
    if (distance >= bestDistance || distance > Math.max(1, Math.floor(candidate.length / 3))) continue
    best = candidate
    bestDistance = distance
  }
  return best
}
