// EIP-712 digests, signatures, Merkle trees: docs/spec/conventions.md (C2 to C4) and wire.md, section 4.
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { concat, hex, keccak, uintBytes, unhex, utf8 } from './bytes.mjs'
import { structs, typeStrings } from './page.mjs'

const DOMAIN = 'EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)'
const HALF_ORDER = secp256k1.Point.Fn.ORDER / 2n
export const ZERO = '00'.repeat(32)
export const ZERO_ADDRESS = '00'.repeat(20)

/** The separator of the domain of `contract` (hexadecimal, no prefix) on a chain. */
export const domainOf = (chainId, contract) =>
  keccak(keccak(utf8(DOMAIN)), keccak(utf8('Stoa')), keccak(utf8('1')), uintBytes(chainId, 32), word('address', contract))

function word (type, value) {
  if (type.startsWith('uint')) return uintBytes(value, 32)
  const bytes = unhex(value)
  return concat(new Uint8Array(32 - bytes.length), bytes)
}

/** `abi.encode` of the fields of a flat struct. */
export const words = (name, value) => concat(...structs.get(name).fields.map(([field, type]) => word(type, value[field])))

export const digest = (domain, name, value) =>
  hex(keccak(Uint8Array.of(0x19, 0x01), domain, keccak(keccak(utf8(typeStrings.get(name))), words(name, value))))

export const addressOf = (key) => publicAddress(secp256k1.getPublicKey(key, false))
const publicAddress = (point) => hex(keccak(point.slice(1)).slice(12))

/** Return `{ value, signature }`. */
export function signStruct (key, domain, name, value) {
  const signed = secp256k1.sign(unhex(digest(domain, name, value)), key, { prehash: false, format: 'recovered' })
  return { value, signature: hex(concat(signed.slice(1), Uint8Array.of(27 + signed[0]))) }
}

/** Check that `expected` signed, and return the digest. */
export function verifySigner (domain, name, signed, expected) {
  const id = digest(domain, name, signed.value)
  const bytes = unhex(signed.signature)
  const v = bytes[64]
  if (v !== 27 && v !== 28) throw new Error(`v is ${v}`)
  if (BigInt('0x' + signed.signature.slice(64, 128)) > HALF_ORDER) throw new Error('s is in the upper half')
  const recovered = concat(Uint8Array.of(v - 27), bytes.slice(0, 64))
  const compressed = secp256k1.recoverPublicKey(recovered, unhex(id), { prehash: false })
  const signer = publicAddress(secp256k1.Point.fromBytes(compressed).toBytes(false))
  if (signer !== expected) throw new Error(`${name} is signed by ${signer}, expected ${expected}`)
  return id
}

export const leafHash = (encoded) => hex(keccak(keccak(encoded)))

/** Root over leaves in their order; pairs are hashed in ascending order, an odd one goes up as it is. */
export function merkleRoot (leaves) {
  if (leaves.length === 0) return ZERO
  let layer = leaves
  while (layer.length > 1) {
    const next = []
    for (let at = 0; at < layer.length; at += 2) {
      const pair = layer.slice(at, at + 2).sort()
      next.push(pair.length === 2 ? hex(keccak(unhex(pair[0]), unhex(pair[1]))) : pair[0])
    }
    layer = next
  }
  return layer[0]
}

/** An address with its checksum in the case of its letters (EIP-55): as topics name contracts. */
export function addressText (address) {
  const nibbles = hex(keccak(utf8(address)))
  return '0x' + [...address].map((digit, at) => parseInt(nibbles[at], 16) >= 8 ? digit.toUpperCase() : digit).join('')
}
