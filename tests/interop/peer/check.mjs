// The client's judgement without a network: reads a line of JSON per question, writes one per answer.
//
//   {"transcript": hex, "chainId": …, "contract": hex}   the outcome, or what is wrong
//   {"type": …, "bytes": hex}                            the value's bytes encoded again, or what is wrong
//   {"sign": struct, "key": hex, "domain": …, "fields"}  digest and signature
//   {"groups": hex}                                      the BLAKE3 of some bytes, by way of its groups
import { createInterface } from 'node:readline'
import { verifyTranscript } from './auction.mjs'
import { GROUP, groupCv, rootOf } from './blake3-tree.mjs'
import { hex, unhex } from './bytes.mjs'
import { MarketMessage, decode, encode } from './codec.mjs'
import { peerIdOf } from './directory.mjs'
import { digest, domainOf, signStruct, verifySigner } from './signing.mjs'

const plain = (fields) => Object.fromEntries(
  Object.entries(fields).map(([name, value]) => [name, value.startsWith('0x') ? value.slice(2).toLowerCase() : BigInt(value)])
)

function answer (question) {
  if (question.transcript !== undefined) {
    const domain = domainOf(question.chainId, question.contract)
    const { ranked, awards, silent } = verifyTranscript(domain, decode('Transcript', unhex(question.transcript)))
    return {
      ranked: ranked.map(({ bid, total }) => [bid.bidder, String(total)]),
      awards: awards.map(({ provider, price }) => [provider, String(price)]),
      silent
    }
  }
  if (question.type !== undefined) {
    const type = question.type === 'MarketMessage' ? MarketMessage : question.type
    return { bytes: hex(encode(type, decode(type, unhex(question.bytes)))) }
  }
  if (question.sign !== undefined) {
    const domain = domainOf(question.chainId, question.contract)
    const signed = signStruct(unhex(question.key), domain, question.sign, plain(question.fields))
    verifySigner(domain, question.sign, signed, question.signer)
    return { digest: digest(domain, question.sign, signed.value), signature: signed.signature }
  }
  if (question.peer !== undefined) return { peer: peerIdOf(question.peer) }
  const bytes = unhex(question.groups)
  const cvs = []
  for (let at = 0; at < bytes.length; at += GROUP) cvs.push(groupCv(bytes.subarray(at, at + GROUP), at / GROUP))
  return { cvs, root: rootOf(cvs) }
}

for await (const line of createInterface({ input: process.stdin })) {
  let said
  try {
    said = { ok: answer(JSON.parse(line)) }
  } catch (error) {
    said = { error: error.message }
  }
  process.stdout.write(JSON.stringify(said) + '\n')
}
