// Bytes by digest, checked as they come: /stoa/blobs/1 of docs/spec/networking.md, section 4.
import { blake3Hex, concat, hex, toUint, uintBytes, unhex } from './bytes.mjs'
import { GROUP, groupCv, rootOf } from './blake3-tree.mjs'
import { Reader, within, write } from './streams.mjs'

export const PROTOCOL = '/stoa/blobs/1'
const STATUS = ['ok', 'not served', 'busy']
const FIRST_ANSWER_S = 120

export class BlobRefused extends Error {}
export class BlobCorrupt extends Error {}

/** Fetch the blob `digest`, which must have `size` bytes; every byte that is returned was checked. */
export async function fetchBlob (connection, digest, size) {
  const stream = await connection.newStream(PROTOCOL)
  try {
    await write(stream, concat(unhex(digest), uintBytes(0, 8)))
    const reader = new Reader(stream)
    const answer = await within(FIRST_ANSWER_S, 'a blob', reader.readOrThrow(9))
    if (answer[0] !== 0) throw new BlobRefused(STATUS[answer[0]] ?? `status ${answer[0]}`)
    if (toUint(answer.slice(1)) !== BigInt(size)) throw new BlobCorrupt('the blob has another size than the manifest says')
    return await readGroups(reader, digest, size)
  } finally {
    stream.abort(new Error('done'))
  }
}

async function readGroups (reader, digest, size) {
  const groups = Math.max(1, Math.ceil(size / GROUP))
  const cvs = []
  for (let index = 0; groups > 1 && index < groups; index++) cvs.push(hex(await reader.readOrThrow(32)))
  if (groups > 1 && rootOf(cvs) !== digest) throw new BlobCorrupt('the chaining values do not give the digest')
  const parts = []
  for (let index = 0; index < groups; index++) {
    const bytes = await reader.readOrThrow(Math.min(GROUP, size - index * GROUP))
    const right = groups > 1 ? groupCv(bytes, index) === cvs[index] : blake3Hex(bytes) === digest
    if (!right) throw new BlobCorrupt(`wrong bytes in group ${index}`)
    parts.push(bytes)
  }
  return concat(...parts)
}
