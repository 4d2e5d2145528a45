import type { CustomSeriesRenderItemAPI, EChartsCoreOption } from 'echarts'
import type { MeanInterval } from './bootstrap.js'
import { html } from './html.js'

/** A curve: one named series of points. */
export interface Curve {
  name: string
  points: readonly (readonly [number, number])[]
}

/** A plot of curves. */
export interface CurvePlot {
  title: string
  xLabel: string
  yLabel: string
  /** Of the y axis: for values over orders of magnitude, all above 0. */
  logarithmic?: boolean
  curves: readonly Curve[]
}

/** A plot of bars with their intervals, the first on top. */
export interface BarPlot {
  title: string
  xLabel: string
  bars: readonly (MeanInterval & { name: string })[]
}

/** A plot of a report. */
export type Plot = CurvePlot | BarPlot

const WIDTH = 920
const FONT = 13
/** Width of a letter to reckon with: what is drawn with is known to the reader's browser alone. */
const LETTER = 0.62 * FONT

/** Of the page that a plot stands in, light or dark, with what they are on a page that has none. */
const INK = 'var(--ink, #1c2430)'
const SOFT = 'var(--soft, #5d6878)'
const LINE = 'var(--line, #dde2ea)'

/** Readable on white as on near black, and told apart by most eyes; where they are used up, lines are broken. */
const COLOURS = ['#3b78d8', '#d9622b', '#2e9d63', '#a86bd1', '#b58900', '#d6456f', '#1d9bb0', '#8c6d5a', '#7a8699']
const DASHES = ['solid', 'dashed', 'dotted'] as const

const strokeOf = (curve: number) => ({
  color: COLOURS[curve % COLOURS.length]!,
  type: DASHES[Math.floor(curve / COLOURS.length) % DASHES.length]!,
})

const line = (color: string) => ({ lineStyle: { color } })

/** What both axes of a plot look like. */
const axis = (name: string, nameGap: number) => ({
  name,
  nameLocation: 'middle',
  nameGap,
  nameTextStyle: { color: SOFT, fontSize: FONT },
  axisLabel: { color: SOFT, fontSize: FONT },
  axisLine: line(SOFT),
  axisTick: line(SOFT),
  splitLine: line(LINE),
})

/** A plot as SVG for an HTML page, with the names of its curves below, which wrap where the page is narrow. */
export async function renderPlot(plot: Plot): Promise<string> {
  const { init } = await import('echarts') // a second to load: only for those who draw
  const [height, option] = 'curves' in plot ? [340, curveOptions(plot)] : [64 + 30 * plot.bars.length, barOptions(plot)]
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height })
  chart.setOption({ animation: false, textStyle: { fontFamily: 'inherit' }, ...option })
  const svg = chart.renderToSVGString()
  chart.dispose() // its timers would keep the process alive
  return `<div class="scroll">${svg}</div>${'curves' in plot ? legendOf(plot) : ''}`
}

function legendOf({ curves }: CurvePlot): string {
  const names = curves.map(({ name }, i) => {
    const { color, type } = strokeOf(i)
    return `<span><i style="border-top: 3px ${type} ${color}"></i>${html(name)}</span>`
  })
  return `<figcaption>${names.join('')}</figcaption>`
}

const curveOptions = ({ xLabel, yLabel, logarithmic, curves }: CurvePlot): EChartsCoreOption => ({
  grid: { left: 68, right: 24, top: 16, bottom: 52 },
  xAxis: { type: 'value', ...axis(xLabel, 32), min: 0, max: 'dataMax' },
  yAxis: {
    ...axis(yLabel, 46),
    ...(logarithmic
      ? { type: 'log', minorSplitLine: { show: true, lineStyle: { color: LINE, opacity: 0.5 } } }
      : { type: 'value', scale: true }),
  },
  series: curves.map(({ name, points }, i) => {
    const stroke = strokeOf(i)
    const one = points.length === 1 // a line needs two
    return {
      name,
      type: 'line',
      showSymbol: one,
      data: points,
      color: stroke.color,
      lineStyle: { width: 2, ...stroke },
    }
  }),
})

function barOptions({ xLabel, bars }: BarPlot): EChartsCoreOption {
  const whisker = (_: unknown, api: CustomSeriesRenderItemAPI) => {
    const [row, low, high] = [0, 1, 2].map((i) => Number(api.value(i)))
    const [x1, y] = api.coord([low!, row!])
    const [x2] = api.coord([high!, row!])
    const stroke = (ax: number, ay: number, bx: number, by: number) => ({
      type: 'line' as const,
      shape: { x1: ax, y1: ay, x2: bx, y2: by },
      style: { stroke: INK, lineWidth: 1.2, fill: 'none' },
    })
    const children = [stroke(x1!, y!, x2!, y!), stroke(x1!, y! - 4, x1!, y! + 4), stroke(x2!, y! - 4, x2!, y! + 4)]
    return { type: 'group' as const, children }
  }
  const letters = Math.max(...bars.map(({ name }) => name.length))
  const room = Math.min(LETTER * letters, WIDTH / 2)
  const names = { color: SOFT, fontSize: FONT, width: room, overflow: 'truncate' }
  return {
    grid: { left: room + 16, right: 24, top: 8, bottom: 52 },
    xAxis: { type: 'value', min: 0, ...axis(xLabel, 28) },
    yAxis: {
      ...axis('', 0),
      type: 'category',
      inverse: true,
      data: bars.map(({ name }) => name),
      axisLabel: names,
      axisTick: { show: false },
    },
    series: [
      {
        type: 'bar',
        silent: true,
        barMaxWidth: 16,
        data: bars.map(({ mean }) => mean),
        itemStyle: { color: COLOURS[0] },
      },
      {
        type: 'custom',
        silent: true,
        renderItem: whisker,
        data: bars.map(({ low, high }, i) => [i, low, high]),
        encode: { x: [1, 2], y: 0 }, // so that the axis reaches to the end of the longest
        z: 3,
      },
    ],
  }
}
