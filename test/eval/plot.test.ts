import { expect, it } from 'vitest'
import { renderPlot } from '../../lib/eval/plot.js'

it('draws curves with their names', async () => {
  const points = [
    [0, 2],
    [10, 1],
  ] as const
  const svg = await renderPlot({ title: 't', xLabel: 'step', yLabel: 'nats', curves: [{ name: 'student', points }] })
  expect(svg).toMatch(/^<svg/)
  for (const word of ['student', 'step', 'nats']) expect(svg).toContain(word)
})

it('draws a bar and a whisker a row', async () => {
  const bars = [
    { name: 'first', mean: 40, low: 30, high: 50 },
    { name: 'second', mean: 80, low: 79, high: 82 },
  ]
  const svg = await renderPlot({ title: 't', xLabel: 'percent', bars })
  for (const word of ['first', 'second', 'percent']) expect(svg).toContain(word)
  expect(svg.match(/fill="#5b8ff9"/g)).toHaveLength(2)
  expect(svg.match(/stroke="#1c2430"/g)).toHaveLength(6)
})
