// Who is who: node records, our own and others' (docs/spec/networking.md, section 5).
import { multiaddr } from '@multiformats/multiaddr'
import { hex, keccak } from './bytes.mjs'
import { decode, encode } from './codec.mjs'
import { signStruct, verifySigner } from './signing.mjs'
import { within } from './streams.mjs'

const LIFETIME_S = 6 * 3600
const RENEW_S = 3600
const WANTED = 32n
const DIAL_S = 30

export class Directory {
  constructor (host, requests, market, wallet) {
    Object.assign(this, { host, requests, market, wallet })
    this.byWallet = new Map()
  }

  /** Our record, signed anew each hour. Sequence numbers only have to grow. */
  own () {
    const now = Math.floor(Date.now() / 1000)
    if (this.current === undefined || now >= Number(this.current.record.value.sequence) + RENEW_S) this.current = this.sign(now)
    return this.current
  }

  sign (now) {
    const addresses = this.host.getMultiaddrs().map((each) => each.toString().split('/p2p/')[0])
    const body = { addresses, engines: [], rates: null }
    const record = {
      wallet: this.wallet.address,
      peer: hex(this.host.peerId.publicKey.raw),
      body: hex(keccak(encode('NodeBody', body))),
      sequence: BigInt(now),
      expires: BigInt(now + LIFETIME_S)
    }
    return { record: signStruct(this.wallet.key, this.market, 'NodeRecord', record), body }
  }

  /** Answer the request `peers`. */
  async answer (_peer, body) {
    const { own, wanted } = decode('PeersExchange', body)
    if (own !== null) this.learn(own)
    const others = [...this.byWallet.values()].slice(0, Math.min(32, Number(wanted)))
    return encode('PeersExchange', { own: this.own(), others, wanted: 0n })
  }

  /** Connect to an address, introduce ourselves, and learn whom the node knows. */
  async meet (address) {
    const connection = await within(DIAL_S, `dialling ${address}`, this.host.dial(multiaddr(address)))
    const peer = connection.remotePeer.toString()
    const request = encode('PeersExchange', { own: this.own(), others: [], wanted: WANTED })
    const answer = decode('PeersExchange', await this.requests.call(peer, 'peers', request))
    for (const each of [answer.own, ...answer.others]) if (each !== null) this.learn(each)
    return peer
  }

  learn (announcement) {
    const record = announcement.record.value
    if (record.wallet === this.wallet.address) return
    verifySigner(this.market, 'NodeRecord', announcement.record, record.wallet)
    if (hex(keccak(encode('NodeBody', announcement.body))) !== record.body) throw new Error('a record over another body')
    if (record.expires < BigInt(Math.floor(Date.now() / 1000))) return // clocks differ
    const known = this.byWallet.get(record.wallet)
    if (known === undefined || known.record.value.sequence < record.sequence) this.byWallet.set(record.wallet, announcement)
  }

  peerOf (wallet) {
    const announcement = this.byWallet.get(wallet)
    if (announcement === undefined) throw new Error(`no record of ${wallet} is known`)
    return peerIdOf(announcement.record.value.peer)
  }
}

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/** The peer id of an Ed25519 key: base58 of `002408011220 || key`. */
export function peerIdOf (key) {
  let number = BigInt(`0x002408011220${key}`)
  let text = ''
  for (; number > 0n; number /= 58n) text = BASE58[Number(number % 58n)] + text
  return `1${text}` // the leading zero byte
}
