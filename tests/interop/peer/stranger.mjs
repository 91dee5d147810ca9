// A stranger's client: a bidder of the market that shares no line with the node, written from docs/spec alone.
//
// It takes its settings as JSON in the first argument and commands as JSON lines on standard input, and answers each with
// one line: {"id": …, "ok": …} or {"id": …, "error": …}. The test in Python is its operator.
import './polyfill.mjs'
import { createInterface } from 'node:readline'

const { Bidder } = await import('./bidder.mjs')
const { Directory } = await import('./directory.mjs')
const { openHost } = await import('./host.mjs')
const { Market } = await import('./market.mjs')
const { methods } = await import('./page.mjs')
const { Refused, Requests } = await import('./requests.mjs')
const { addressOf, domainOf } = await import('./signing.mjs')
const { unhex } = await import('./bytes.mjs')
const { MEMBERS, pack } = await import('./codec.mjs')

const settings = JSON.parse(process.argv[2])
const key = unhex(settings.key)
const wallet = { key, address: addressOf(key) }
const domain = domainOf(settings.chainId, settings.contract)

const host = await openHost()
const handlers = {}
const requests = new Requests(host, handlers)
const market = new Market(host.services.pubsub, { domain, ...settings })
const directory = new Directory(host, requests, domain, wallet)
const bidder = new Bidder({ host, requests, market, directory, wallet, domain, chainId: settings.chainId })
Object.assign(handlers, {
  peers: (...args) => directory.answer(...args),
  'market/message': (...args) => market.answer(...args),
  'task/award': (...args) => bidder.onAward(...args),
  'task/funding': (...args) => bidder.onFunding(...args),
  'task/cancel': async () => new Uint8Array(0),
  'channel/voucher': (...args) => bidder.onVoucher(...args),
  'channel/release': (...args) => bidder.onRelease(...args)
})
await requests.start()
market.join()

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000))

async function until (what, seconds, probe, seen = () => '') {
  for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
    const found = await probe()
    if (found) return found
    await sleep(0.1)
  }
  throw new Error(`after ${seconds} s not yet: ${what}${seen()}`)
}

const auctionOf = (task) => until(`the offer ${task}`, 60, () => market.auctions.get(task))

const shown = ({ offerId, ranked, silent, awards }) => ({
  offer: offerId,
  ranked: ranked.map(({ bid, total }) => ({ bidder: bid.bidder, price: bid.price, score: total })),
  silent,
  awards: awards.map(({ provider, price, attempt }) => ({ provider, price, attempt }))
})

const commands = {
  /** Meet the first node, then everybody that it tells of. */
  async discover ({ address, nodes }) {
    const peers = new Set([await directory.meet(address)])
    await until(`${nodes} nodes`, 60, async () => {
      for (const { record, body } of [...directory.byWallet.values()]) {
        const peer = directory.peerOf(record.value.wallet)
        if (peers.has(peer) || body.addresses.length === 0) continue
        // A record outlives its node by hours, so an address at which nobody answers is nothing special.
        await directory.meet(`${body.addresses[0]}/p2p/${peer}`).then((met) => peers.add(met), () => undefined)
      }
      return peers.size >= nodes
    })
    await until('a mesh on every topic', 60, () => market.meshSize() >= nodes)
    return { peer: host.peerId.toString(), wallet: wallet.address, peers: [...peers], wallets: [...directory.byWallet.keys()] }
  },

  /** Follow an auction by gossip until so many awards are out, and verify it from what was heard. */
  async follow ({ task, awards }) {
    const auction = await auctionOf(task)
    return until(`${awards} awards of ${task} that follow`, 60, () => {
      if (auction.awards.length < awards || auction.bids.size < auction.leaves.length) return undefined
      return shown(market.verify(auction))
    }, () => `; heard ${auction.awards.length} awards, ${auction.bids.size} bids of ${auction.leaves.length}, ${JSON.stringify(market.judged)}`)
  },

  /** The same, with the transcript changed in the ways that a cheating requester might try: all must be found out. */
  async doubt ({ task }) {
    const auction = await auctionOf(task)
    return bidder.forgeries(auction)
  },

  /** Bid on the next sealed auction. */
  async sell ({ price, eta }) {
    bidder.sell(BigInt(price), BigInt(eta))
    return {}
  },

  async wait ({ step }) {
    return until(step, 60, () => {
      if (bidder.steps.failed !== undefined) throw new Error(bidder.steps.failed)
      return bidder.steps[step]
    })
  },

  /** Send each method of the page a body that is one byte too long, and one method that is on no page. */
  async probe ({ peer }) {
    const refusals = {}
    for (const [method, , limit] of [...methods, ['no/such', '', 0]]) {
      refusals[method] = await requests.call(peer, method, new Uint8Array(limit + 1)).catch((error) => {
        if (!(error instanceof Refused)) throw error
        return { code: error.code, text: error.words }
      })
    }
    return refusals
  },

  /** Ask for a blob that nobody granted to us. */
  async fetch ({ peer, digest, size }) {
    return bidder.tryFetch(peer, digest, size)
  },

  /** Gossip a member of the market's union that no release knows yet. */
  async novelty ({ text }) {
    await market.publishRaw('faults', pack([MEMBERS + 1, text]))
    return {}
  },

  async conduct () {
    return { judged: market.judged, connections: host.getConnections().map((each) => each.remotePeer.toString()) }
  }
}

const say = (line) => process.stdout.write(JSON.stringify(line, (_key, value) => typeof value === 'bigint' ? Number(value) : value) + '\n')

say({ id: 0, ok: { peer: host.peerId.toString(), wallet: wallet.address } })
for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...args } = JSON.parse(line)
  commands[command](args).then((ok) => say({ id, ok }), (error) => say({ id, error: error.stack ?? String(error) }))
}
await host.stop()
process.exit(0)
