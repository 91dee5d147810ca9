// A js-libp2p host as docs/spec/wire.md, section 3 asks for one: TCP, Noise, Yamux, identify, gossip.
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'

export async function openHost () {
  return createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // Yamux pings already; the stock monitor ends a connection whose answer takes longer than the ones before.
    connectionMonitor: { enabled: false },
    services: {
      identify: identify(),
      pubsub: gossipsub({
        D: 6,
        Dlo: 4,
        Dhi: 12,
        doPX: false,
        allowPublishToZeroTopicPeers: true,
        globalSignaturePolicy: 'StrictSign'
      })
    }
  })
}
