// The market's conversation: what is heard is judged before it is relayed, and remembered (docs/spec/auction.md).
import { encode, decode, MarketMessage, UnknownKind } from './codec.mjs'
import { checkBid, checkOffer, checkRoll, verifyTranscript } from './auction.mjs'
import { addressText, ZERO, digest, verifySigner } from './signing.mjs'

const LABELS = ['offers', 'commitments', 'rolls', 'bids', 'awards', 'faults']
const TOPIC_OF = {
  OfferAnnouncement: 'offers',
  CommitmentAnnouncement: 'commitments',
  RollAnnouncement: 'rolls',
  BidAnnouncement: 'bids',
  AwardAnnouncement: 'awards',
  ProtestAnnouncement: 'faults',
  ConflictAnnouncement: 'faults'
}
const MOST_BYTES = { offers: 40960, commitments: 512, rolls: 24576, bids: 512, awards: 12288, faults: 4096 }

/** Nobody is at fault: drop it and go on (G2). */
class NotRelayed extends Error {}

export class Market {
  constructor (pubsub, { domain, chainId, contract }) {
    Object.assign(this, { pubsub, domain })
    this.auctions = new Map()
    this.listeners = []
    this.judged = { accept: 0, ignore: 0, reject: 0 }
    this.topics = new Map(LABELS.map((label) => [`/stoa/1/${chainId}/${addressText(contract)}/${label}`, label]))
  }

  join () {
    for (const [topic, label] of this.topics) {
      this.pubsub.topicValidators.set(topic, (_peer, message) => this.judge(label, message.data))
      this.pubsub.subscribe(topic)
    }
  }

  /** How many peers are in the thinnest mesh of ours. */
  meshSize () {
    return Math.min(...[...this.topics.keys()].map((topic) => this.pubsub.getMeshPeers(topic).length))
  }

  async publish (message) {
    this.remember(message)
    await this.publishRaw(TOPIC_OF[message.kind], encode(MarketMessage, message))
  }

  async publishRaw (label, bytes) {
    const topic = [...this.topics].find(([, each]) => each === label)[0]
    await this.pubsub.publish(topic, bytes)
  }

  judge (label, data) {
    const verdict = this.verdictOn(label, data)
    this.judged[verdict]++
    return verdict
  }

  verdictOn (label, data) {
    try {
      if (data.length > MOST_BYTES[label]) throw new Error('too large for its topic')
      const message = decode(MarketMessage, data)
      if (TOPIC_OF[message.kind] !== label) throw new Error(`${message.kind} on ${label}`)
      this.take(message)
      return 'accept'
    } catch (error) {
      return error instanceof NotRelayed || error instanceof UnknownKind ? 'ignore' : 'reject'
    }
  }

  /** Answer `market/message`: the same messages, straight from their author. */
  async answer (_peer, body) {
    this.take(decode(MarketMessage, body))
    return new Uint8Array(0)
  }

  take (message) {
    this.remember(message)
    for (const listener of this.listeners) listener(message)
  }

  /** Check a message by what is known, and keep it. Throws what is wrong with it. */
  remember (message) {
    const now = BigInt(Math.floor(Date.now() / 1000))
    if (message.kind === 'OfferAnnouncement') {
      if (now > message.signed.value.commitBy) throw new NotRelayed('late')
      const { id, offer, manifest } = checkOffer(this.domain, message)
      if (!this.auctions.has(id)) {
        this.auctions.set(id, { id, offer, manifest, signed: message.signed, commitments: new Map(), bids: new Map(), leaves: [], awards: [] })
      }
      return
    }
    if (message.kind === 'ConflictAnnouncement') throw new NotRelayed('this client keeps no record of faults')
    const { value } = message.signed
    const auction = this.auctions.get(value.offer)
    if (auction === undefined) throw new NotRelayed('an offer that was not heard here')
    this.rememberIn(auction, message, value, now)
  }

  rememberIn (auction, message, value, now) {
    const { domain } = this
    const { id, offer } = auction
    switch (message.kind) {
      case 'CommitmentAnnouncement':
        if (now > offer.commitBy) throw new NotRelayed('late')
        verifySigner(domain, 'Commitment', message.signed, value.bidder)
        auction.commitments.set(value.bidder, message.signed)
        break
      case 'RollAnnouncement':
        auction.rollId = checkRoll(domain, id, offer, message.signed, message.leaves)
        auction.roll = message.signed
        auction.leaves = message.leaves
        break
      case 'BidAnnouncement':
        if (now > offer.revealBy) throw new NotRelayed('late')
        if (value.roll !== ZERO && value.roll !== auction.rollId) throw new NotRelayed('a roll that was not heard here')
        checkBid(domain, id, offer, auction.rollId, auction.leaves, message.signed)
        auction.bids.set(value.bidder, message.signed)
        break
      case 'AwardAnnouncement': {
        const awardId = verifySigner(domain, 'Award', message.signed, offer.requester)
        if (!auction.awards.some((each) => digest(domain, 'Award', each.value) === awardId)) auction.awards.push(message.signed)
        break
      }
      case 'ProtestAnnouncement':
        verifySigner(domain, 'Bid', message.signed, value.bidder)
        break
    }
  }

  /** The transcript of an auction as this client heard it by gossip. */
  transcriptOf (auction) {
    return {
      offer: auction.signed,
      roll: auction.roll ?? null,
      leaves: auction.leaves,
      commitments: [...auction.commitments.values()],
      bids: [...auction.bids.values()],
      awards: auction.awards,
      excuses: []
    }
  }

  verify (auction) {
    return verifyTranscript(this.domain, this.transcriptOf(auction))
  }
}
