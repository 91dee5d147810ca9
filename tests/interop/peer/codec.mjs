// The canonical msgpack of docs/spec/wire.md, section 2, for the types that the tables of wire-messages.md spell.
//
// Values: integers are BigInt; addresses, digests and signatures are hexadecimal text; `bytes(n)` is Uint8Array;
// structs are objects by field name, members of a union with their name under `kind`.
import { Encoder, Decoder } from '@msgpack/msgpack'
import { hex, toUint, uintBytes, unhex, utf8 } from './bytes.mjs'
import { structs } from './page.mjs'

const packer = new Encoder({ useBigInt64: true })
const unpacker = new Decoder({ useBigInt64: true })
const FIXED = { address: 20, bytes32: 32, signature: 65 }
const MARKET = ['Offer', 'Commitment', 'Roll', 'Bid', 'Award', 'Protest', 'Conflict']
export const MEMBERS = MARKET.length
export const MarketMessage = MARKET.map((name) => `${name}Announcement`).join(' or ')

export const pack = (raw) => packer.encode(raw)

export class DecodeError extends Error {}
export class UnknownKind extends DecodeError {}

export function encode (type, value) {
  return packer.encode(coderOf(type).encode(value))
}

export function decode (type, bytes) {
  let raw
  try {
    raw = unpacker.decode(bytes)
  } catch (error) {
    throw new DecodeError(`not msgpack: ${error.message}`)
  }
  const value = coderOf(type).decode(raw)
  if (hex(encode(type, value)) !== hex(bytes)) throw new DecodeError('not canonical')
  return value
}

const coders = new Map()
function coderOf (type) {
  if (!coders.has(type)) coders.set(type, makeCoder(type))
  return coders.get(type)
}

function makeCoder (type) {
  let match
  if (type.endsWith('?')) return optional(coderOf(type.slice(0, -1)))
  if (type.includes(' or ')) return union(type.split(' or '))
  if ((match = type.match(/^(.*)\[(\d+)\]$/))) return list(coderOf(match[1]), Number(match[2]))
  if ((match = type.match(/^\((.*)\)$/))) return sequence(splitTop(match[1]).map(coderOf))
  if ((match = type.match(/^Signed<(.*)>$/))) return record([['value', match[1]], ['signature', 'signature']])
  if ((match = type.match(/^(text|bytes)\((\d+)\)$/))) return match[1] === 'text' ? text(Number(match[2])) : blob(Number(match[2]))
  if (type in FIXED) return fixed(FIXED[type])
  if (type === 'bool') return { encode: (value) => value, decode: expect('boolean') }
  if ((match = type.match(/^uint(\d+)$/))) return Number(match[1]) > 64 ? bigUint(Number(match[1]) / 8) : uint(BigInt(match[1]))
  if (!structs.has(type)) throw new Error(`the page does not tell what ${type} is`)
  return struct(type)
}

/** Split at the commas that are outside of parentheses. */
function splitTop (inner) {
  const parts = []
  let depth = 0
  let from = 0
  for (let at = 0; at <= inner.length; at++) {
    if (inner[at] === '(') depth++
    if (inner[at] === ')') depth--
    if (at === inner.length || (inner[at] === ',' && depth === 0)) {
      parts.push(inner.slice(from, at).trim())
      from = at + 1
    }
  }
  return parts
}

const expect = (kind) => (raw) => {
  if (typeof raw !== kind) throw new DecodeError(`expected ${kind}, got ${typeof raw}`)
  return raw
}

function uint (width) {
  return {
    // The packer writes numbers below 2^32 in their shortest form, and a BigInt as eight bytes.
    encode: (value) => value < 2n ** 32n ? Number(value) : value,
    decode: (raw) => {
      if (typeof raw !== 'bigint' && !Number.isInteger(raw)) throw new DecodeError('expected an integer')
      const value = BigInt(raw)
      if (value < 0n || value >= 2n ** width) throw new DecodeError(`${value} does not fit uint${width}`)
      return value
    }
  }
}

function bigUint (size) {
  return {
    encode: (value) => {
      const bytes = uintBytes(value, size)
      const first = bytes.findIndex((byte) => byte !== 0)
      return first < 0 ? new Uint8Array(0) : bytes.slice(first)
    },
    decode: (raw) => toUint(bounded(raw, size))
  }
}

function bounded (raw, limit) {
  if (!(raw instanceof Uint8Array) || raw.length > limit) throw new DecodeError(`expected at most ${limit} bytes`)
  return raw
}

function fixed (size) {
  return {
    encode: (value) => unhex(value),
    decode: (raw) => {
      if (bounded(raw, size).length !== size) throw new DecodeError(`expected ${size} bytes`)
      return hex(raw)
    }
  }
}

const blob = (limit) => ({ encode: (value) => value, decode: (raw) => bounded(raw, limit).slice() })

const text = (limit) => ({
  encode: (value) => value,
  decode: (raw) => {
    if (utf8(expect('string')(raw)).length > limit) throw new DecodeError(`text of more than ${limit} bytes`)
    return raw
  }
})

const optional = (inner) => ({
  encode: (value) => value == null ? null : inner.encode(value),
  decode: (raw) => raw === null ? null : inner.decode(raw)
})

function list (item, limit) {
  return {
    encode: (values) => values.map(item.encode),
    decode: (raw) => {
      if (!Array.isArray(raw) || raw.length > limit) throw new DecodeError(`expected at most ${limit} items`)
      return raw.map(item.decode)
    }
  }
}

function sequence (items) {
  return {
    encode: (values) => items.map((item, at) => item.encode(values[at])),
    decode: (raw) => {
      if (!Array.isArray(raw) || raw.length !== items.length) throw new DecodeError(`expected ${items.length} items`)
      return items.map((item, at) => item.decode(raw[at]))
    }
  }
}

function record (fields) {
  const body = sequence(fields.map(([, type]) => coderOf(type)))
  return {
    encode: (value) => body.encode(fields.map(([name]) => value[name])),
    decode: (raw) => Object.fromEntries(body.decode(raw).map((value, at) => [fields[at][0], value]))
  }
}

function struct (name) {
  const { number, fields } = structs.get(name)
  const body = record(fields)
  if (number === undefined) return body
  return {
    encode: (value) => [number, ...body.encode(value)],
    decode: (raw) => {
      if (!Array.isArray(raw) || raw[0] !== number) throw new UnknownKind(`expected ${name}, number ${number}`)
      return { kind: name, ...body.decode(raw.slice(1)) }
    }
  }
}

function union (names) {
  const byNumber = new Map(names.map((name) => [structs.get(name).number, name]))
  return {
    encode: (value) => coderOf(value.kind).encode(value),
    decode: (raw) => {
      if (!Array.isArray(raw) || typeof raw[0] !== 'number') throw new DecodeError('expected a number of a union')
      if (!byNumber.has(raw[0])) throw new UnknownKind(`number ${raw[0]} is not known here`)
      return coderOf(byNumber.get(raw[0])).decode(raw)
    }
  }
}
