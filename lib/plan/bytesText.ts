const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** A number of bytes in the largest unit that it has one of: 3.2 GiB. */
export function bytesText(bytes: number): string {
  let [value, unit] = [bytes, 0]
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`
}
