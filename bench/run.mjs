// npm run bench
import { runBench } from './compile.mjs'

// --expose-gc: what earlier cases left behind must not count as memory of the next.
runBench('main.js', ['--expose-gc'])
