// The provider's side up to where a sandbox would be needed: commit, reveal, take the award, fetch the module and the
// inputs, and give the award up politely, so that the standby can step in (docs/spec/wire.md, section 6).
import { fetchBlob } from './blobs.mjs'
import { MarketMessage, decode, encode } from './codec.mjs'
import { DIRECT, OPEN, sealBid, verifyTranscript } from './auction.mjs'
import { ZERO_ADDRESS, digest, leafHash, merkleRoot, domainOf, verifySigner, words, signStruct } from './signing.mjs'
import { hex, keccak } from './bytes.mjs'

const NOTHING = new Uint8Array(0)
const RETELL_MS = 500
const MOST_CHANNELS = 1000

export class WrongAward extends Error {}
class WrongChannel extends Error {}
class HoldMissing extends Error {}
class HoldsMismatch extends Error {}
class StaleVoucher extends Error {}
class CumulativeFell extends Error {}

export class Bidder {
  constructor (parts) {
    Object.assign(this, parts)
    this.steps = {}
    this.market.listeners.push((message) => this.hear(message))
  }

  sell (price, eta) {
    Object.assign(this, { price, eta, offer: undefined, steps: {} })
  }

  hear (message) {
    if (message.kind === 'OfferAnnouncement' && this.price !== undefined && this.offer === undefined) {
      this.commit(message).catch((error) => { this.steps.failed = error.stack })
    }
    if (message.kind === 'RollAnnouncement' && message.signed.value.offer === this.offer) {
      this.reveal(message).catch((error) => { this.steps.failed = error.stack })
    }
  }

  async commit ({ signed }) {
    const terms = signed.value
    if (terms.format === DIRECT || terms.format === OPEN) return
    this.offer = digest(this.domain, 'Offer', terms)
    this.requester = terms.requester
    const { sealed, commitment } = sealBid(this.wallet.address, this.offer, this.price, this.eta)
    this.sealed = sealed
    await this.say({ kind: 'CommitmentAnnouncement', signed: this.sign('Commitment', commitment) }, terms.commitBy)
    this.steps.committed = { offer: this.offer }
  }

  async reveal ({ signed, leaves }) {
    if (this.revealed || !leaves.some((leaf) => leaf.bidder === this.wallet.address)) return
    this.revealed = true // once, to one roll (A1)
    const bid = { ...this.sealed, roll: digest(this.domain, 'Roll', signed.value) }
    const { offer } = this.market.auctions.get(this.offer)
    await this.say({ kind: 'BidAnnouncement', signed: this.sign('Bid', bid) }, offer.revealBy)
    this.steps.revealed = { roll: bid.roll, bidders: leaves.length }
  }

  sign (name, value) {
    return signStruct(this.wallet.key, this.domain, name, value)
  }

  /** By gossip to all, and straight to the requester, again while it can't be reached. */
  async say (message, by) {
    await this.market.publish(message)
    const body = encode(MarketMessage, message)
    while (Date.now() / 1000 < Number(by) + 1) {
      try {
        await this.requests.call(this.directory.peerOf(this.requester), 'market/message', body)
        return
      } catch (error) {
        if (error.code !== undefined && error.code !== 'Busy') throw error
        await new Promise((resolve) => setTimeout(resolve, RETELL_MS))
      }
    }
  }

  /** `task/award`: verify the transcript before the award is taken. */
  async onAward (peer, body) {
    const { award, transcript } = decode('AwardNotice', body)
    const verified = verifyTranscript(this.domain, transcript)
    const id = digest(this.domain, 'Award', award.value)
    if (peer !== this.directory.peerOf(transcript.offer.value.requester)) throw new WrongAward('only the requester awards its task')
    if (award.value.provider !== this.wallet.address || verified.offerId !== this.offer) throw new WrongAward('not ours')
    if (!verified.awards.some((each) => digest(this.domain, 'Award', each) === id)) throw new WrongAward('not in the transcript')
    this.steps.awarded = {
      award: id,
      price: award.value.price,
      ranked: verified.ranked.map(({ bid }) => bid.bidder),
      committed: transcript.commitments.map(({ value }) => value.bidder)
    }
    this.award = { id, peer, ...award.value }
    return NOTHING
  }

  /** `task/funding`: what can be checked without the chain. Then what a provider does before its start. */
  async onFunding (_peer, body) {
    const { award, voucher } = decode('FundingNotice', body)
    if (award !== this.award?.id) throw new WrongAward('an award that was not taken')
    if (this.steps.funded === undefined) {
      this.steps.funded = this.checkHold(voucher)
      this.deliver().catch((error) => { this.steps.failed = error.stack })
    }
    return NOTHING
  }

  /** Check that the voucher holds the award's money in the channel that the award names (CH2 to CH4, O3). */
  checkHold ({ voucher, holds }) {
    const { requester, token, channel, price, disputeFee } = this.award
    this.keepVoucher(voucher, holds)
    const hold = holds.find((each) => each.award === this.award.id)
    const counter = this.counterOf({ payer: requester, signer: requester, payee: this.wallet.address, token }, channel)
    if (hold === undefined || hold.amount !== price + disputeFee || hold.arbiter !== this.award.arbiter) throw new HoldMissing('no such hold')
    return { sequence: voucher.value.sequence, held: voucher.value.held, counter }
  }

  /** Check a voucher by itself and against the one held (CH10), and keep it. */
  keepVoucher (voucher, holds) {
    const { requester, channel, rail } = this.award
    const { value } = voucher
    if (value.channel !== channel) throw new WrongChannel('a voucher of another channel')
    verifySigner(domainOf(this.chainId, rail), 'Voucher', voucher, requester)
    const root = merkleRoot(holds.map((each) => leafHash(words('Hold', each))))
    const total = holds.reduce((sum, each) => sum + each.amount, 0n)
    if (root !== value.holds || total !== value.held) throw new HoldsMismatch('the holds are not those of the voucher')
    if (this.voucher !== undefined) {
      if (value.sequence < this.voucher.sequence) throw new StaleVoucher(`voucher ${value.sequence}, already hold ${this.voucher.sequence}`)
      if (value.cumulative < this.voucher.cumulative) throw new CumulativeFell('the voucher pays less than the one before')
    }
    this.voucher = value
  }

  /** Which channel of this payer it is: its id is a hash over the counter. */
  counterOf (ends, channel) {
    const word = (address) => '00'.repeat(12) + address
    for (let counter = 1; counter <= MOST_CHANNELS; counter++) {
      const fields = [ends.payer, ends.signer, ends.payee, ends.token].map(word)
      const id = hex(keccak(Buffer.from(fields.join('') + counter.toString(16).padStart(64, '0'), 'hex')))
      if (id === channel) return counter
    }
    throw new WrongAward('the award names no channel between the two')
  }

  async deliver () {
    const { manifest } = this.market.auctions.get(this.offer)
    const wanted = [manifest.module, ...manifest.files.map((file) => file.blob)]
    for (const part of manifest.parts) wanted.push(...(part.stdin ? [part.stdin] : []), ...part.files.map((file) => file.blob))
    const got = []
    for (const { digest: name, size } of wanted) {
      const bytes = await fetchBlob(this.connectionTo(this.award.peer), name, Number(size))
      got.push({ digest: name, size: bytes.length })
    }
    this.steps.fetched = got
    const reason = 'this client has no sandbox for the engine'
    const failure = { award: this.award.id, part: 0n, outcome: 0n, logs: '00'.repeat(32), reason }
    await this.requests.call(this.award.peer, 'task/failure', encode('FailureNotice', failure))
    this.steps.gaveUp = { reason }
  }

  /** `channel/release`: nothing was delivered, so the payer may have its hold back. */
  async onRelease (_peer, body) {
    const { award } = decode('ReleaseRequest', body)
    this.steps.released = { award }
    return encode('ReleaseAnswer', { released: award === this.award?.id && this.steps.gaveUp !== undefined })
  }

  /** `channel/voucher`: the hold is gone, which is right once the award was given up. */
  async onVoucher (_peer, body) {
    const { voucher, holds } = decode('VoucherNotice', body)
    if (this.award === undefined) throw new WrongChannel('no channel with this payer is known')
    if (this.steps.released === undefined && !holds.some((each) => each.award === this.award.id)) throw new HoldMissing('not released')
    this.keepVoucher(voucher, holds)
    this.steps.freed = { held: voucher.value.held, sequence: voucher.value.sequence }
    return encode('VoucherHeld', { sequence: this.voucher.sequence })
  }

  async tryFetch (peer, name, size) {
    try {
      return { size: (await fetchBlob(this.connectionTo(peer), name, size)).length }
    } catch (error) {
      return { refused: error.message }
    }
  }

  connectionTo (peer) {
    return this.host.getConnections().find((each) => each.remotePeer.toString() === peer)
  }

  /** Change what was heard in the ways that a requester might cheat, and return what is found wrong with each. */
  forgeries (auction) {
    const honest = this.market.transcriptOf(auction)
    const [award] = honest.awards
    const change = (fields) => ({ value: { ...award.value, ...fields }, signature: award.signature })
    const loser = honest.leaves.find((leaf) => leaf.bidder !== award.value.provider).bidder
    const tries = {
      'a bid left out': { bids: honest.bids.slice(1) },
      'a leaf left out': { leaves: honest.leaves.slice(1) },
      'a dearer award': { awards: [change({ price: award.value.price + 1n })] },
      'another winner': { awards: [change({ provider: loser })] },
      'another budget': { offer: { value: { ...auction.offer, budget: 1n }, signature: auction.signed.signature } },
      'no arbiter': { awards: [change({ arbiter: ZERO_ADDRESS === award.value.arbiter ? 'ff'.repeat(20) : ZERO_ADDRESS })] }
    }
    return Object.fromEntries(Object.entries(tries).map(([what, changed]) => {
      try {
        verifyTranscript(this.domain, { ...honest, ...changed })
        return [what, null]
      } catch (error) {
        return [what, error.message]
      }
    }))
  }
}
