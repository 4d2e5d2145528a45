import type { CustomSeriesRenderItemAPI, EChartsCoreOption } from 'echarts'
import type { MeanInterval } from './bootstrap.js'

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
const axisName = (name: string, nameGap: number) => ({ name, nameLocation: 'middle', nameGap })

/** A plot as an SVG string. */
export async function renderPlot(plot: Plot): Promise<string> {
  const { init } = await import('echarts') // a second to load: only for those who draw
  const [height, option] = 'curves' in plot ? [360, curveOptions(plot)] : [90 + 30 * plot.bars.length, barOptions(plot)]
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height })
  chart.setOption({ animation: false, ...option })
  const svg = chart.renderToSVGString()
  chart.dispose() // its timers would keep the process alive
  return svg
}

const curveOptions = ({ xLabel, yLabel, logarithmic, curves }: CurvePlot): EChartsCoreOption => ({
  grid: { left: 64, right: 24, top: 48, bottom: 52 },
  legend: { top: 8 },
  xAxis: { type: 'value', ...axisName(xLabel, 30), min: 'dataMin', max: 'dataMax' },
  yAxis: {
    ...(logarithmic ? { type: 'log', minorSplitLine: { show: true } } : { type: 'value', scale: true }),
    ...axisName(yLabel, 44),
  },
  series: curves.map(({ name, points }) => ({ name, type: 'line', showSymbol: false, data: points })),
})

function barOptions({ xLabel, bars }: BarPlot): EChartsCoreOption {
  const whisker = (_: unknown, api: CustomSeriesRenderItemAPI) => {
    const [row, low, high] = [0, 1, 2].map((i) => Number(api.value(i)))
    const [x1, y] = api.coord([low!, row!])
    const [x2] = api.coord([high!, row!])
    const line = (ax: number, ay: number, bx: number, by: number) => ({
      type: 'line' as const,
      shape: { x1: ax, y1: ay, x2: bx, y2: by },
      style: { stroke: '#1c2430', lineWidth: 1.2 },
    })
    const children = [line(x1!, y!, x2!, y!), line(x1!, y! - 4, x1!, y! + 4), line(x2!, y! - 4, x2!, y! + 4)]
    return { type: 'group' as const, children }
  }
  return {
    grid: { left: 16, right: 24, top: 16, bottom: 44, containLabel: true },
    xAxis: { type: 'value', min: 0, ...axisName(xLabel, 28) },
    yAxis: { type: 'category', inverse: true, data: bars.map(({ name }) => name), axisTick: { show: false } },
    series: [
      { type: 'bar', barMaxWidth: 16, data: bars.map(({ mean }) => mean), itemStyle: { color: '#5b8ff9' } },
      { type: 'custom', renderItem: whisker, data: bars.map(({ low, high }, i) => [i, low, high]), z: 3 },
    ],
  }
}
