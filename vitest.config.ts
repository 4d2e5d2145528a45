import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  esbuild: { target: 'es2022' }, // lowers `using`, which Node 20 does not parse
  resolve: { alias: { 'lantern-node': fileURLToPath(new URL('lib/index.ts', import.meta.url)) } }, // in examples and the README
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    maxWorkers: 2,
  },
})
