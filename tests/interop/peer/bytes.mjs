// Bytes, hexadecimal, Keccak and BLAKE3: the few things that every other file needs.
import { blake3 } from '@noble/hashes/blake3.js'
import { keccak_256 } from '@noble/hashes/sha3.js'
import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js'

export const hex = bytesToHex
export const unhex = hexToBytes
export const concat = concatBytes
export const keccak = (...parts) => keccak_256(concat(...parts))
export const blake3Hex = (bytes) => hex(blake3(bytes))
export const utf8 = (text) => new TextEncoder().encode(text)

/** An unsigned integer, big-endian, in `size` bytes. */
export function uintBytes (value, size) {
  const out = new Uint8Array(size)
  let rest = BigInt(value)
  for (let at = size - 1; at >= 0; at--, rest >>= 8n) out[at] = Number(rest & 0xffn)
  if (rest !== 0n) throw new Error(`${value} does not fit ${size} bytes`)
  return out
}

export const toUint = (bytes) => bytes.length === 0 ? 0n : BigInt('0x' + hex(bytes))
