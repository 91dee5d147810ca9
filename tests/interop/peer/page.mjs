// The schema of the wire, read from the pages that tell it: docs/spec/wire-messages.md and docs/spec/objects.md.
import { readFileSync } from 'node:fs'

const SPEC = new URL('../../../docs/spec/', import.meta.url)
const messages = readFileSync(new URL('wire-messages.md', SPEC), 'utf8')
const objects = readFileSync(new URL('objects.md', SPEC), 'utf8')
const wire = readFileSync(new URL('wire.md', SPEC), 'utf8')

/** Solidity type strings by name, from the code blocks. */
export const typeStrings = new Map()
for (const [, block] of (objects + messages).matchAll(/```\n(.*?)```/gs)) {
  const joined = block.replace(/,\n\s+/g, ',')
  for (const [, name, members] of joined.matchAll(/^(\w+)\(([^)]*)\)/gm)) typeStrings.set(name, `${name}(${members})`)
}

/** Structs by name: `{ number, fields: [[name, type], …] }`. */
export const structs = new Map()
for (const section of messages.split(/^#### /m).slice(1)) {
  const [, name, number] = section.match(/^(\w+)(?:, number (\d+))?\n/)
  const fields = [...section.matchAll(/^\| `(\w+)` \| `([^`]+)` \|/gm)].map(([, field, type]) => [field, type])
  structs.set(name, { number: number === undefined ? undefined : Number(number), fields })
}
for (const [name, spelled] of typeStrings) {
  const members = spelled.slice(name.length + 1, -1).split(',')
  structs.set(name, { number: undefined, fields: members.map((member) => member.split(' ').reverse()) })
}

/** The rows of the table of methods: `[method, body, most bytes]`. */
export const methods = [...wire.matchAll(/^\| `([a-z]+(?:\/[a-z]+)?)` \| \w+ \| `([^`]+)` \| ([\d,]+) \|/gm)]
  .map(([, method, body, limit]) => [method, body, Number(limit.replaceAll(',', ''))])
