// The tree inside BLAKE3 (the BLAKE3 paper, sections 2.1 to 2.5): a library gives the root alone, a transfer needs the
// chaining values of its groups of 2^20 bytes.
import { hex, unhex } from './bytes.mjs'

export const GROUP = 2 ** 20
const CHUNK = 1024
const [CHUNK_START, CHUNK_END, PARENT, ROOT] = [1, 2, 4, 8]
const IV = Uint32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19)
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
const LANES = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15], [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]]
const ORDERS = [[...Array(16).keys()]]
while (ORDERS.length < 7) ORDERS.push(PERMUTATION.map((place) => ORDERS[ORDERS.length - 1][place]))

function compress (cv, block, counter, length, flags) {
  const v = new Uint32Array(16)
  v.set(cv)
  v.set(IV.subarray(0, 4), 8)
  v.set([counter, Math.floor(counter / 2 ** 32), length, flags], 12)
  for (const order of ORDERS) {
    LANES.forEach(([a, b, c, d], lane) => {
      for (const [step, byD, byB] of [[0, 16, 12], [1, 8, 7]]) {
        v[a] += v[b] + block[order[2 * lane + step]]
        v[d] = rotate(v[d] ^ v[a], byD)
        v[c] += v[d]
        v[b] = rotate(v[b] ^ v[c], byB)
      }
    })
  }
  return v.subarray(0, 8).map((low, at) => low ^ v[at + 8])
}

const rotate = (value, by) => (value >>> by) | (value << (32 - by))

function wordsOf (bytes) {
  const padded = new Uint8Array(64)
  padded.set(bytes)
  const view = new DataView(padded.buffer)
  return Uint32Array.from({ length: 16 }, (_, at) => view.getUint32(4 * at, true))
}

function chunkCv (chunk, number) {
  let cv = IV
  for (let at = 0; at < chunk.length; at += 64) {
    const block = chunk.subarray(at, at + 64)
    const flags = (at === 0 ? CHUNK_START : 0) | (at + 64 >= chunk.length ? CHUNK_END : 0)
    cv = compress(cv, wordsOf(block), number, block.length, flags)
  }
  return cv
}

function parent (left, right, flags = 0) {
  const block = new Uint32Array(16)
  block.set(left)
  block.set(right, 8)
  return compress(IV, block, 0, 64, PARENT | flags)
}

/** Merge neighbours until `count` are left; an odd one at the end goes up as it is. */
function merge (cvs, count) {
  while (cvs.length > count) {
    const next = []
    for (let at = 0; at < cvs.length; at += 2) next.push(at + 1 < cvs.length ? parent(cvs[at], cvs[at + 1]) : cvs[at])
    cvs = next
  }
  return cvs
}

const toHex = (cv) => {
  const out = new DataView(new ArrayBuffer(32))
  cv.forEach((each, at) => out.setUint32(4 * at, each, true))
  return hex(new Uint8Array(out.buffer))
}

/** The chaining value of group `index` of a blob that has more than one. */
export function groupCv (bytes, index) {
  const cvs = []
  for (let at = 0; at < bytes.length; at += CHUNK) cvs.push(chunkCv(bytes.subarray(at, at + CHUNK), index * (GROUP / CHUNK) + at / CHUNK))
  return toHex(merge(cvs, 1)[0])
}

/** The digest of the blob whose groups have these chaining values; at least two. */
export function rootOf (cvs) {
  const [left, right] = merge(cvs.map((each) => wordsOf(unhex(each)).subarray(0, 8)), 2)
  return toHex(parent(left, right, ROOT))
}
