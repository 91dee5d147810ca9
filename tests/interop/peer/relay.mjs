// js-libp2p's own circuit relay, unchanged, in each of its three roles. `node relay.mjs ROLE [ADDRESS]`:
//   relay            keeps places for others; prints its address
//   target RELAY     asks for a place at RELAY, prints the address it got, answers /echo/1
//   dialler TARGET   dials TARGET, which is behind a relay, sends bytes to /echo/1 and compares what comes back
import './polyfill.mjs'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { Reader, write } from './streams.mjs'

const [role, address] = process.argv.slice(2)
const ECHO = '/echo/1'
const BYTES = 20_000

const host = await createLibp2p({
  addresses: { listen: role === 'relay' ? ['/ip4/127.0.0.1/tcp/0'] : role === 'target' ? [`${address}/p2p-circuit`] : [] },
  transports: [tcp(), circuitRelayTransport()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionMonitor: { enabled: false },
  services: { identify: identify(), ...(role === 'relay' ? { relay: circuitRelayServer() } : {}) }
})

await host.handle(ECHO, async stream => {
  const reader = new Reader(stream)
  await write(stream, await reader.readOrThrow(BYTES))
}, { runOnLimitedConnection: true })

if (role === 'dialler') {
  const connection = await host.dial(multiaddr(address))
  const stream = await connection.newStream(ECHO, { runOnLimitedConnection: true })
  const sent = new Uint8Array(BYTES).map((_, index) => index * 7)
  await write(stream, sent)
  const back = await new Reader(stream).readOrThrow(BYTES)
  const { seconds, bytes } = connection.limits ?? {}
  console.log(JSON.stringify({
    same: sent.every((byte, index) => byte === back[index]),
    peer: connection.remotePeer.toString(),
    seconds: seconds ?? null,
    bytes: bytes === undefined ? null : String(bytes)
  }))
  await host.stop()
  process.exit(0)
}

const wanted = each => role === 'relay' || each.toString().includes('/p2p-circuit')
while (!host.getMultiaddrs().some(wanted)) {
  await new Promise(resolve => setTimeout(resolve, 50))
}
console.log(JSON.stringify({ address: host.getMultiaddrs().find(wanted).toString(), peer: host.peerId.toString() }))
