import { defineConfig } from 'vitest/config'

export default defineConfig({
  esbuild: { target: 'es2022' }, // lowers `using`, which Node 20 does not parse
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    maxWorkers: 2,
  },
})
