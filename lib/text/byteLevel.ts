/**
 * The byte alphabet of byte-level BPE (GPT-2): every byte is written as one printable character, so that a vocabulary
 * of strings can hold any bytes. Printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up.
 */

/** The character of every byte, index 0 to 255. */
export const BYTE_TO_CHAR: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174
  if (printable(byte)) return String.fromCharCode(byte)
  let rank = 0
  for (let b = 0; b < byte; b++) if (!printable(b)) rank++
  return String.fromCharCode(256 + rank)
})

const CHAR_TO_BYTE = new Map(BYTE_TO_CHAR.map((char, byte) => [char, byte]))

/** The bytes that order the vocabulary of GPT-2 and its successors: by their character's code point. */
export const BYTES_BY_CHAR: readonly number[] = BYTE_TO_CHAR.map((_, byte) => byte).sort(
  (a, b) => BYTE_TO_CHAR[a]!.charCodeAt(0) - BYTE_TO_CHAR[b]!.charCodeAt(0),
)

/** Bytes of a vocabulary entry, or undefined when it holds a character outside the byte alphabet. */
export function tokenBytes(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = CHAR_TO_BYTE.get(token[i]!)
    if (byte === undefined) return undefined
    bytes[i] = byte
  }
  return bytes
}

/** The vocabulary entry that stands for these bytes. */
export function bytesToToken(bytes: Iterable<number>): string {
  let token = ''
  for (const byte of bytes) token += BYTE_TO_CHAR[byte]!
  return token
}
