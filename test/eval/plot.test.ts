import { expect, it } from 'vitest'
import { renderPlot } from '../../lib/eval/plot.js'

it('draws curves with their names', async () => {
  const points = [
    [0, 2],
    [10, 1],
  ] as const
  const svg = await renderPlot({ title: 't', xLabel: 'step', yLabel: 'nats', curves: [{ name: 'student', points }] })
  expect(svg).toMatch(/^<div class="scroll"><svg/)
  for (const word of ['student', 'step', 'nats']) expect(svg).toContain(word)
})

it('tells every curve from the others, by its name as well', async () => {
  const curves = Array.from({ length: 12 }, (_, i) => ({
    name: `a & ${i}`,
    points: [[0, i] as const, [1, i] as const],
  }))
  const svg = await renderPlot({ title: 't', xLabel: 'x', yLabel: 'y', curves })
  const legend = [...svg.matchAll(/border-top: 3px (\w+ #\w+)"><\/i>(a &amp; \d+)</g)]
  expect(legend.map(([, , name]) => name)).toEqual(curves.map((_, i) => `a &amp; ${i}`))
  expect(new Set(legend.map(([, stroke]) => stroke)).size).toBe(12)
})

it('draws a bar and a whisker a row', async () => {
  const bars = [
    { name: 'first', mean: 40, low: 30, high: 50 },
    { name: 'second', mean: 80, low: 75, high: 93 },
  ]
  const svg = await renderPlot({ title: 't', xLabel: 'percent', bars })
  for (const word of ['first', 'second', 'percent']) expect(svg).toContain(word)
  expect(svg.match(/fill="#3b78d8"/g)).toHaveLength(2)
  expect(svg.match(/stroke="var\(--ink, #1c2430\)"/g)).toHaveLength(6)
  const right = [...svg.matchAll(/M[\d.]+ [\d.]+L([\d.]+) [\d.]+"[^>]*stroke="var\(--ink/g)].map(([, x]) => Number(x))
  expect(right).toHaveLength(6)
  expect(Math.max(...right)).toBeLessThan(920) // the longest reaches beyond its bar, not beyond the plot
})
