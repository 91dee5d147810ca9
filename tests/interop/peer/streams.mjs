// Reading and writing exact numbers of bytes on a stream of js-libp2p, and the deadline of docs/spec/networking.md.
import { concat } from './bytes.mjs'

/** Reads a stream in pieces of the caller's choice. */
export class Reader {
  constructor (stream) {
    this.source = stream[Symbol.asyncIterator]()
    this.rest = new Uint8Array(0)
  }

  /** Exactly `size` bytes; undefined if the stream ends before the first of them. */
  async read (size) {
    const parts = [this.rest]
    let have = this.rest.length
    while (have < size) {
      const { done, value } = await this.source.next()
      if (done) {
        if (have === 0) return undefined
        throw new Error(`the stream ended after ${have} of ${size} bytes`)
      }
      parts.push(value.subarray())
      have += value.length ?? value.byteLength
    }
    const all = concat(...parts)
    this.rest = all.subarray(size)
    return all.slice(0, size)
  }

  async readOrThrow (size) {
    const bytes = await this.read(size)
    if (bytes === undefined && size > 0) throw new Error(`the stream ended, ${size} bytes were expected`)
    return bytes ?? new Uint8Array(0)
  }
}

export async function write (stream, bytes) {
  if (!stream.send(bytes)) await stream.onDrain()
}

/** Reject after `seconds`. */
export async function within (seconds, what, promise) {
  let timer
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${seconds} s`)), seconds * 1000)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
