// Requests and answers: /stoa/requests/1 of docs/spec/networking.md, section 3.
import { concat, uintBytes, utf8 } from './bytes.mjs'
import { Reader, within, write } from './streams.mjs'

export const PROTOCOL = '/stoa/requests/1'
const [REQUEST, ANSWER, REFUSAL, CANCEL] = [1, 2, 3, 4]
const MAX_FRAME = 2 ** 20
const CALL_S = 30

/** A peer's refusal; `code` is the name of the broken rule's error, `Busy`, or another of wire.md, section 8. */
export class Refused extends Error {
  constructor (code, text) {
    super(`${code}: ${text}`)
    this.code = code
    this.words = text
  }
}

const frame = (kind, number, ...rest) => {
  const body = concat(uintBytes(kind, 1), uintBytes(number, 4), ...rest)
  return concat(uintBytes(body.length, 4), body)
}
const named = (name) => concat(uintBytes(name.length, 1), utf8(name))
const ascii = (bytes) => new TextDecoder().decode(bytes)

async function readFrame (reader) {
  const head = await reader.read(4)
  if (head === undefined) return undefined
  const length = new DataView(head.buffer, head.byteOffset).getUint32(0)
  if (length < 5 || length > MAX_FRAME) throw new Error(`a frame of ${length} bytes`)
  const body = await reader.readOrThrow(length)
  return { kind: body[0], number: new DataView(body.buffer, body.byteOffset).getUint32(1), rest: body.slice(5) }
}

const splitName = (rest) => [ascii(rest.slice(1, 1 + rest[0])), rest.slice(1 + rest[0])]

/** Both sides of the protocol. `handlers` maps methods to `async (peer, body) => answer`. */
export class Requests {
  constructor (node, handlers) {
    this.node = node
    this.handlers = handlers
    this.sessions = new Map()
  }

  async start () {
    await this.node.handle(PROTOCOL, (stream, connection) => {
      this.serve(stream, connection.remotePeer.toString()).catch((error) => stream.abort(error))
    })
  }

  /** Ask a connected peer; the stream is opened once and kept. */
  async call (peer, method, body) {
    const session = await this.sessionOf(peer)
    const number = session.next++
    const answered = new Promise((resolve, reject) => session.waiting.set(number, { resolve, reject }))
    await write(session.stream, frame(REQUEST, number, named(method), body))
    try {
      return await within(CALL_S, `${method} at ${peer}`, answered)
    } finally {
      session.waiting.delete(number)
    }
  }

  sessionOf (peer) {
    if (!this.sessions.has(peer)) {
      this.sessions.set(peer, this.open(peer).catch((error) => {
        this.sessions.delete(peer)
        throw error
      }))
    }
    return this.sessions.get(peer)
  }

  async open (peer) {
    const connection = this.node.getConnections().find((each) => each.remotePeer.toString() === peer)
    if (connection === undefined) throw new Error(`not connected to ${peer}`)
    const session = { stream: await connection.newStream(PROTOCOL), waiting: new Map(), next: 1 }
    this.read(session).catch((error) => error).then((error) => {
      this.sessions.delete(peer)
      for (const { reject } of session.waiting.values()) reject(error ?? new Error('the peer closed the stream'))
    })
    return session
  }

  async read (session) {
    const reader = new Reader(session.stream)
    for (let got; (got = await readFrame(reader)) !== undefined;) {
      const waiting = session.waiting.get(got.number)
      if (waiting === undefined) continue // given up meanwhile
      if (got.kind === ANSWER) {
        waiting.resolve(got.rest)
      } else if (got.kind === REFUSAL) {
        const [code, text] = splitName(got.rest)
        waiting.reject(new Refused(code, ascii(text)))
      }
    }
  }

  async serve (stream, peer) {
    const reader = new Reader(stream)
    for (let got; (got = await readFrame(reader)) !== undefined;) {
      if (got.kind === CANCEL) continue // nothing here takes long enough to be stopped
      if (got.kind !== REQUEST) throw new Error(`a frame of kind ${got.kind} where requests are`)
      this.answer(peer, got).then((bytes) => write(stream, bytes)).catch((error) => stream.abort(error))
    }
    await stream.close()
  }

  async answer (peer, { number, rest }) {
    const [method, body] = splitName(rest)
    const handler = this.handlers[method]
    if (handler === undefined) return refusal(number, 'UnknownMethod', `${method} is not served here`)
    try {
      return frame(ANSWER, number, await handler(peer, body))
    } catch (error) {
      return refusal(number, error.constructor.name, error.message)
    }
  }
}

const refusal = (number, code, text) => frame(REFUSAL, number, named(code.slice(0, 64)), utf8(text.slice(0, 1000)))
