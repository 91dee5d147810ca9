// Who wins, at what price, and whether the awards follow: docs/spec/auction.md, A1 to A6, from signed messages alone.
import { blake3Hex, hex, keccak, unhex } from './bytes.mjs'
import { decode } from './codec.mjs'
import { ZERO, ZERO_ADDRESS, digest, leafHash, merkleRoot, verifySigner, words } from './signing.mjs'

const S = 10n ** 6n
const WHOLE = 10_000n
export const DIRECT = 0n
export const SECOND_PRICE = 1n
export const OPEN = 3n
const MAX_BIDDERS = 256n
const REPEATED = ['requester', 'token', 'rail', 'arbiter', 'liability', 'disputeFee', 'splitBps', 'pace', 'resolveWithin']

export class RuleBroken extends Error {}
const must = (holds, why) => { if (!holds) throw new RuleBroken(why) }

/** Check an offer against the rules that its own fields can break. */
function checkTerms (offer) {
  must(offer.format <= OPEN, 'A4: a format that is not known')
  must(offer.wPrice + offer.wReputation + offer.wSpeed === WHOLE, 'O4: the weights do not add up')
  must(offer.splitBps <= WHOLE, 'C1: a share above the whole')
  must(offer.budget > 0n && offer.parts > 0n && offer.copies > 0n, 'O7: nothing is bought')
  must(offer.maxBidders >= offer.copies && offer.maxBidders <= MAX_BIDDERS, 'O7: too many or too few bidders')
  must(offer.format !== DIRECT || offer.copies === 1n, 'O5: a direct hire is of one provider')
  must(offer.commitBy < offer.revealBy && offer.revealBy < offer.expires, 'T1: times out of order')
  must([offer.maxEta, offer.startWithin, offer.pace, offer.resolveWithin].every((time) => time > 0n), 'T3: a duration of zero')
  const latest = offer.expires + offer.startWithin + offer.maxEta + 3n * offer.pace + offer.resolveWithin
  must(latest < 2n ** 64n, 'T3: deadlines that do not fit uint64')
  must(offer.bond === 0n && offer.minStake === 0n, 'O7: there is no stake yet')
  must(offer.arbiter !== ZERO_ADDRESS || offer.disputeFee === 0n, 'O7: a fee without an arbiter')
}

/** Check an announcement of an offer, and return `{ id, offer, manifest }`. */
export function checkOffer (domain, announcement) {
  const offer = announcement.signed.value
  const id = verifySigner(domain, 'Offer', announcement.signed, offer.requester)
  checkTerms(offer)
  must(blake3Hex(announcement.manifest) === offer.manifest, 'O6: another manifest')
  must(hex(keccak(words('Rates', announcement.rates))) === offer.rates, 'O6: other rates')
  must(hex(keccak(announcement.verification)) === offer.verification, 'O6: another policy')
  const manifest = decode('Manifest', announcement.manifest)
  decode('Trust or Audit or Copies', announcement.verification)
  must(manifest.engine === offer.engine && BigInt(manifest.parts.length) === offer.parts, 'O2: not the offer\'s manifest')
  return { id, offer, manifest }
}

export const sealOf = (bid) => hex(keccak(words('SealedBid', bid)))

export function checkRoll (domain, offerId, offer, signed, leaves) {
  must(signed.value.offer === offerId, 'C3: the roll names another offer')
  const id = verifySigner(domain, 'Roll', signed, offer.requester)
  must(BigInt(leaves.length) === signed.value.count && signed.value.count <= offer.maxBidders, 'A1: a wrong count')
  leaves.forEach((leaf, at) => must(at === 0 || leaves[at - 1].bidder < leaf.bidder, 'A1: leaves out of order'))
  must(leaves.every((leaf) => leaf.reputation <= WHOLE && leaf.bidder !== offer.requester), 'A8, O4: a leaf that can not be')
  must(merkleRoot(leaves.map((leaf) => leafHash(words('RollLeaf', leaf)))) === signed.value.root, 'A1: other leaves')
  return id
}

/** Check one revealed bid against its leaf, and return it with its score. */
export function checkBid (domain, offerId, offer, rollId, leaves, signed) {
  const bid = signed.value
  const leaf = leaves.find((each) => each.bidder === bid.bidder)
  must(leaf !== undefined, 'A1: a bidder that is not in the roll')
  const open = offer.format === OPEN
  must(bid.offer === offerId && bid.roll === (open ? ZERO : rollId), 'A1: a bid to another offer or roll')
  const id = verifySigner(domain, 'Bid', signed, leaf.bidder)
  const sealed = { offer: bid.offer, bidder: bid.bidder, hash: sealOf(bid) }
  must(leaf.commitment === (open ? id : digest(domain, 'Commitment', sealed)), 'A2: not what was committed to')
  must(bid.price <= offer.budget && bid.eta >= 1n && bid.eta <= offer.maxEta, 'A2: outside the offer')
  const terms = {
    price: offer.wPrice * S * (offer.budget - bid.price) / offer.budget,
    reputation: offer.wReputation * S * leaf.reputation / WHOLE,
    speed: offer.wSpeed * S * (offer.maxEta - bid.eta) / offer.maxEta
  }
  return { id, bid, ...terms, total: terms.price + terms.reputation + terms.speed }
}

/** Best first; equal scores by lot (A3). */
export function rank (rollId, candidates) {
  const lot = (candidate) => {
    const tied = candidates.filter((each) => each.total === candidate.total)
    const salts = tied.map((each) => each.bid.salt).sort().map(unhex)
    return hex(keccak(unhex(rollId), ...salts, new Uint8Array(12), unhex(candidate.bid.bidder)))
  }
  return [...candidates].sort((a, b) => a.total === b.total ? (lot(a) < lot(b) ? -1 : 1) : (a.total > b.total ? -1 : 1))
}

function clearingPrice (offer, winner, following) {
  if (offer.format !== SECOND_PRICE) return winner.bid.price
  if (following === undefined) return offer.budget
  const needed = following.total - winner.reputation - winner.speed
  if (needed <= 0n) return offer.budget
  const weight = offer.wPrice * S
  return offer.budget - (needed * offer.budget + weight - 1n) / weight
}

/** The best `copies` of those who have not failed, each with its price of the whole task (A4). */
function place (offer, ranked, failed) {
  const rest = ranked.filter((each) => !failed.includes(each.bid.bidder))
  const copies = Number(offer.copies)
  return rest.slice(0, copies).map((each) => ({ ...each, clearing: clearingPrice(offer, each, rest[copies]) }))
}

function checkAward (domain, offerId, offer, signed) {
  const award = signed.value
  must(award.offer === offerId, 'C3: the award names another offer')
  verifySigner(domain, 'Award', signed, offer.requester)
  for (const field of REPEATED) must(award[field] === offer[field], `O4: the award changes ${field}`)
  must(award.slot < offer.copies && award.firstPart + award.parts === offer.parts && award.parts > 0n, 'O4, A5a: parts or slot')
  const at = award.startBy - offer.startWithin
  must(at > offer.revealBy && at <= offer.expires, 'T1: awarded too early or too late')
  must(award.attempt > 0n || award.firstPart === 0n, 'A5a: a first award that leaves parts out')
  must(award.price <= offer.budget * (offer.parts - award.firstPart) / offer.parts, 'O4: above the budget')
  const eta = award.deliverBy - award.startBy
  must(eta >= 1n && eta <= offer.maxEta, 'O4: due later than the offer allows')
  must([award.roll, award.bids].every((root) => (root === ZERO) === (offer.format === DIRECT)), 'O5: a root where none may be, or none')
}

/**
 * Compute an auction again from its transcript (docs/spec/auction.md, section 4).
 *
 * Returns the ids, the ranking with scores, who fell silent and the awards by attempt; throws if a rule does not hold.
 */
export function verifyTranscript (domain, transcript) {
  const offer = transcript.offer.value
  const offerId = verifySigner(domain, 'Offer', transcript.offer, offer.requester)
  checkTerms(offer)
  const awards = awardsOf(domain, offerId, offer, transcript)
  if (offer.format === DIRECT) {
    must(transcript.roll === null && transcript.leaves.length + transcript.bids.length === 0, 'O5: a hire has no roll')
    must(awards.length === 1 && awards[0].attempt === 0n, 'O5: a hire has one award')
    return { offerId, rollId: ZERO, ranked: [], silent: [], awards }
  }
  must(transcript.roll !== null, 'A1: no roll')
  const rollId = checkRoll(domain, offerId, offer, transcript.roll, transcript.leaves)
  const candidates = transcript.bids.map((signed) => checkBid(domain, offerId, offer, rollId, transcript.leaves, signed))
  must(new Set(candidates.map((each) => each.bid.bidder)).size === candidates.length, 'A2: two bids of one bidder')
  const ids = [...candidates].sort((a, b) => a.bid.bidder < b.bid.bidder ? -1 : 1).map((each) => each.id)
  const root = merkleRoot(ids.map((id) => leafHash(unhex(id))))
  const ranked = rank(rollId, candidates)
  replay(offer, rollId, root, ranked, awards)
  const silent = transcript.leaves.map((leaf) => leaf.bidder).filter((who) => !candidates.some((each) => each.bid.bidder === who))
  return { offerId, rollId, ranked, silent, awards }
}

/** Check each award by itself, and return them by (attempt, slot), each once. */
function awardsOf (domain, offerId, offer, transcript) {
  must(transcript.awards.length > 0, 'A5: no award')
  const known = new Map()
  for (const signed of transcript.awards) {
    checkAward(domain, offerId, offer, signed)
    const place = `${signed.value.attempt} ${signed.value.slot}`
    const other = known.get(place) ?? signed.value
    must(digest(domain, 'Award', other) === digest(domain, 'Award', signed.value), 'A7: two awards for one slot and attempt')
    known.set(place, other)
  }
  return [...known.values()].sort((a, b) => Number(a.attempt - b.attempt || a.slot - b.slot))
}

function replay (offer, rollId, root, ranked, awards) {
  const serving = new Map()
  const failed = []
  for (const award of awards) {
    must(award.roll === rollId && award.bids === root, 'A2: not the roll and bids of this award')
    let expected
    if (award.attempt === 0n) {
      expected = place(offer, ranked, [])[Number(award.slot)]
    } else {
      must(serving.has(award.slot) && award.attempt === BigInt(failed.length + 1), 'A5: an attempt is missing')
      const before = serving.get(award.slot)
      must(award.firstPart >= before.firstPart && award.startBy >= before.startBy, 'A5a: an attempt goes back')
      failed.push(before.provider)
      const busy = [...serving].filter(([slot]) => slot !== award.slot).map(([, other]) => other.provider)
      expected = place(offer, ranked, failed).find((each) => !busy.includes(each.bid.bidder))
    }
    must(expected !== undefined && award.provider === expected.bid.bidder, 'A2: another bidder won')
    must(award.price === expected.clearing * (offer.parts - award.firstPart) / offer.parts, 'A4: another price')
    must(award.deliverBy === award.startBy + expected.bid.eta, 'O4: another time to deliver')
    serving.set(award.slot, award)
  }
}

/** A bid, and the commitment that hides it. */
export function sealBid (bidder, offerId, price, eta) {
  const salt = hex(crypto.getRandomValues(new Uint8Array(32)))
  const sealed = { offer: offerId, bidder, price, eta, salt }
  return { sealed, commitment: { offer: offerId, bidder, hash: sealOf(sealed) } }
}
