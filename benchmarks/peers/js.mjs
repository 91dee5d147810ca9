// The other side of every comparison: js-libp2p with TCP, Noise, Yamux and gossipsub, told what to do by lines of JSON.
// `peers/ours.py` does the same on our network, command for command.
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { createInterface } from 'node:readline'

Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}

const ECHO = '/benchmark/echo/1'
const BYTES = '/benchmark/bytes/1'
const TOPIC = 'benchmark/messages'
const ACKS = 'benchmark/acks'
const PIECE = 65536

const host = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionMonitor: { enabled: false },
  services: { identify: identify(), pubsub: gossipsub({ D: 6, Dlo: 4, Dhi: 12, globalSignaturePolicy: 'StrictSign' }) }
})
const pubsub = host.services.pubsub
const now = () => process.hrtime.bigint() // CLOCK_MONOTONIC, the same for all processes of the machine
let connection

// Reading exact sizes, without copying what needs none.
class Reader {
  constructor (stream) { this.source = stream[Symbol.asyncIterator](); this.rest = new Uint8Array(0) }

  async read (size) {
    while (this.rest.length < size) {
      const { done, value } = await this.source.next()
      if (done) return undefined
      const more = value.subarray()
      this.rest = this.rest.length === 0 ? more : Buffer.concat([this.rest, more])
    }
    const taken = this.rest.subarray(0, size)
    this.rest = this.rest.subarray(size)
    return taken
  }
}

async function write (stream, bytes) { if (!stream.send(bytes)) await stream.onDrain() }

// Echo: a length, then so many bytes, over and over.
const options = { maxInboundStreams: 1024, maxOutboundStreams: 1024 }
await host.handle(ECHO, async stream => {
  const reader = new Reader(stream)
  for (;;) {
    const head = await reader.read(4)
    if (head === undefined) break
    const size = new DataView(head.buffer, head.byteOffset).getUint32(0)
    const body = await reader.read(size)
    await write(stream, frame(body))
  }
  await stream.close()
}, options)

function frame (body) {
  const out = new Uint8Array(4 + body.length)
  new DataView(out.buffer).setUint32(0, body.length)
  out.set(body, 4)
  return out
}

// Bytes: a count, answered with so many bytes.
const piece = new Uint8Array(PIECE).fill(7)
await host.handle(BYTES, async stream => {
  const reader = new Reader(stream)
  const head = await reader.read(8)
  let left = Number(new DataView(head.buffer, head.byteOffset).getBigUint64(0))
  while (left > 0) {
    const size = Math.min(left, PIECE)
    await write(stream, size === PIECE ? piece : piece.subarray(0, size))
    left -= size
  }
  await stream.close()
}, options)

// Gossip: messages begin with their time; every `every`-th is answered by one on the topic of acknowledgements.
let every = 1
let heard = []
let acknowledged = 0
let wake = () => {}
pubsub.addEventListener('message', ({ detail }) => {
  const view = new DataView(detail.data.buffer, detail.data.byteOffset)
  if (detail.topic === ACKS) {
    acknowledged = view.getUint32(0)
    wake()
  } else if (detail.topic === TOPIC) {
    heard.push(Number(now() - view.getBigUint64(0)) / 1e6)
    if (heard.length % every === 0) {
      const ack = new Uint8Array(8)
      new DataView(ack.buffer).setUint32(0, heard.length)
      pubsub.publish(ACKS, ack)
    }
  }
})

const commands = {
  async connect ({ address }) { connection = await host.dial(multiaddr(address)) },
  async subscribe () { pubsub.subscribe(TOPIC); pubsub.subscribe(ACKS) },
  async mesh () { return pubsub.getMeshPeers(TOPIC).length > 0 && pubsub.getMeshPeers(ACKS).length > 0 },
  async expect ({ every: count }) { every = count; heard = [] },
  async heard () { return heard },
  async gossip ({ count, size, window }) {
    acknowledged = 0
    const started = now()
    for (let sent = 0; sent < count; sent++) {
      while (sent - acknowledged >= window) await new Promise(resolve => { wake = resolve })
      const message = new Uint8Array(size)
      new DataView(message.buffer).setBigUint64(0, now())
      await pubsub.publish(TOPIC, message)
    }
    while (acknowledged < count) await new Promise(resolve => { wake = resolve })
    return Number(now() - started) / 1e9
  },
  async requests ({ count, size, fresh }) {
    const body = new Uint8Array(size)
    const taken = []
    let stream = fresh ? undefined : await connection.newStream(ECHO, options)
    let reader = fresh ? undefined : new Reader(stream)
    for (let each = 0; each < count; each++) {
      const started = now()
      if (fresh) {
        stream = await connection.newStream(ECHO, options)
        reader = new Reader(stream)
      }
      await write(stream, frame(body))
      await reader.read(4)
      await reader.read(size)
      taken.push(Number(now() - started) / 1e6)
      if (fresh) stream.close().catch(() => {})
    }
    if (!fresh) stream.close().catch(() => {})
    return taken
  },
  async bytes ({ size, streams }) {
    const started = now()
    await Promise.all(Array.from({ length: streams }, async () => {
      const stream = await connection.newStream(BYTES, options)
      const head = new Uint8Array(8)
      new DataView(head.buffer).setBigUint64(0, BigInt(size))
      await write(stream, head)
      let got = 0
      for await (const chunk of stream) got += chunk.byteLength
      if (got !== size) throw new Error(`${got} bytes of ${size}`)
    }))
    return Number(now() - started) / 1e9
  },
  async cpu () { const { user, system } = process.cpuUsage(); return (user + system) / 1e6 }
}

console.log(JSON.stringify({ ok: { address: host.getMultiaddrs()[0].toString() } }))
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line)
  try {
    console.log(JSON.stringify({ ok: await commands[command](rest) ?? null }))
  } catch (error) {
    console.log(JSON.stringify({ error: error.stack ?? String(error) }))
  }
}
process.exit(0)
