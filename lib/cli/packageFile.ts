import { fileURLToPath } from 'node:url'

/** Path of a file that comes with the package, such as assets/teacher. */
export const packageFile = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))
