"""The compression function of BLAKE3 in WebAssembly, four lanes at a time: the tree at near the speed of machine code.

The `blake3` package gives digests and no access to the tree. Here the text of a small module is written out (one lane
of a SIMD register is one chunk or one parent), compiled once by wasmtime, and called with bytes in its memory, without
a compiler at the user's (docs/adr/1335). Numbers of sections are those of the BLAKE3 paper.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final, cast

import wasmtime

CV_BYTES: Final = 32
CHUNK_BYTES: Final = 1024
BLOCK_BYTES: Final = 64
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
_PAGE_BYTES: Final = 64 * 1024
_LANES: Final = 4
_IV: Final = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
_PERMUTATION: Final = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_COLUMNS: Final = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS: Final = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))

INPUT_BYTES: Final = 2 * 1024 * 1024
"""Room for a group, or for the chaining values of the largest blob."""
_OUTPUT_AT: Final = INPUT_BYTES + _PAGE_BYTES
"""Behind what the last lanes may read past the input."""
_PAGES: Final = (_OUTPUT_AT + 2 * _PAGE_BYTES) // _PAGE_BYTES


class Lanes:
    """One instance of the module, for one caller at a time."""

    def __init__(self) -> None:
        engine, module = _module()
        self._store = wasmtime.Store(engine)
        exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory = cast("wasmtime.Memory", exports["memory"])
        self._hash = cast("wasmtime.Func", exports["hash"])
        self._merge = cast("wasmtime.Func", exports["merge"])

    def subtree(self, data: bytes, first: int) -> bytes:
        """Return the chaining value of the subtree over `data`, whose first chunk has the number `first`.

        Args:
            data: 1 to `INPUT_BYTES` bytes.
            first: Number of its first chunk in the whole.
        """
        whole, rest = divmod(len(data), CHUNK_BYTES)
        self._memory.write(self._store, data, 0)
        end = _OUTPUT_AT + whole * CV_BYTES
        if whole:
            self._call(0, whole, _OUTPUT_AT, first, CHUNK_BYTES // BLOCK_BYTES, BLOCK_BYTES)
        if rest:
            blocks = -(-rest // BLOCK_BYTES)
            self._memory.write(self._store, bytes(BLOCK_BYTES), len(data))
            self._call(whole * CHUNK_BYTES, 1, end, first + whole, blocks, rest - (blocks - 1) * BLOCK_BYTES)
        self._merge(self._store, _OUTPUT_AT, whole + bool(rest), 1)
        return self._read(_OUTPUT_AT)

    def root(self, cvs: bytes) -> bytes:
        """Return the digest over neighbouring subtrees, at least two, with these chaining values."""
        self._memory.write(self._store, cvs, 0)
        self._merge(self._store, 0, len(cvs) // CV_BYTES, 2)
        self._hash(self._store, 0, BLOCK_BYTES, 1, _OUTPUT_AT, 0, 0, 1, BLOCK_BYTES, PARENT | ROOT, 0)
        return self._read(_OUTPUT_AT)

    def _call(self, at: int, count: int, out: int, first: int, blocks: int, last: int) -> None:
        self._hash(self._store, at, CHUNK_BYTES, count, out, first, 1, blocks, last, CHUNK_START, CHUNK_END)

    def _read(self, at: int) -> bytes:
        return bytes(self._memory.read(self._store, at, at + CV_BYTES))


@cache
def _module() -> tuple[wasmtime.Engine, wasmtime.Module]:
    config = wasmtime.Config()
    config.parallel_compilation = False  # its threads don't survive a fork, and hang what is forked
    engine = wasmtime.Engine(config)
    return engine, wasmtime.Module(engine, bytes(wasmtime.wat2wasm(_text())))


def _text() -> str:
    return f"""(module
  (memory (export "memory") {_PAGES})
  {_text_of_hash()}
  {_TEXT_OF_MERGE})"""


def _text_of_hash() -> str:
    """Hash `count` inputs of `blocks` blocks each, `stride` bytes apart, to chaining values at `out`.

    Their counters begin at `counter` and grow by `step`. `first` and `final` are the flags of the first and of the last
    block, which has `last` bytes and is padded with zeros.
    """
    state = " ".join(f"(local $v{index} v128)" for index in range(16))
    message = " ".join(f"(local $m{index} v128)" for index in range(16))
    chain = " ".join(f"(local $h{index} v128)" for index in range(8))
    start = "\n".join(f"(local.set $h{index} {_splat(_IV[index])})" for index in range(8))
    load = "\n".join(_load_four_words(word) for word in range(0, 16, 4))
    finish = "\n".join(
        f"(local.set $h{index} (v128.xor (local.get $v{index}) (local.get $v{index + 8})))" for index in range(8)
    )
    return f"""
  (func $hash (export "hash") (param $in i32) (param $stride i32) (param $count i32) (param $out i32)
      (param $counter i64) (param $step i64) (param $blocks i32) (param $last i32) (param $first i32) (param $final i32)
    (local $block i32) (local $at i32) (local $length i32) (local $flags i32)
    (local $t v128) (local $r0 v128) (local $r1 v128) (local $r2 v128) (local $r3 v128) {state} {message} {chain}
    (loop $lanes
      {start}
      (local.set $block (i32.const 0))
      (loop $next
        (local.set $at (i32.add (local.get $in) (i32.mul (local.get $block) (i32.const {BLOCK_BYTES}))))
        (local.set $flags (select (local.get $first) (i32.const 0) (i32.eqz (local.get $block))))
        (local.set $block (i32.add (local.get $block) (i32.const 1)))
        (local.set $length (i32.const {BLOCK_BYTES}))
        (if (i32.eq (local.get $block) (local.get $blocks)) (then
          (local.set $length (local.get $last))
          (local.set $flags (i32.or (local.get $flags) (local.get $final)))))
        {load}
        {_set_state()}
        {_rounds()}
        {finish}
        (br_if $next (i32.lt_u (local.get $block) (local.get $blocks))))
      {_store_four_words(0)}
      {_store_four_words(4)}
      (local.set $in (i32.add (local.get $in) (i32.mul (local.get $stride) (i32.const {_LANES}))))
      (local.set $out (i32.add (local.get $out) (i32.const {_LANES * CV_BYTES})))
      (local.set $counter (i64.add (local.get $counter) (i64.mul (local.get $step) (i64.const {_LANES}))))
      (local.set $count (i32.sub (local.get $count) (i32.const {_LANES})))
      (br_if $lanes (i32.gt_s (local.get $count) (i32.const 0)))))"""


_TEXT_OF_MERGE: Final = f"""
  (func (export "merge") (param $at i32) (param $count i32) (param $until i32)
    ;; Level by level, in place, until so many are left; an odd one goes up as it is (section 2.1).
    (local $pairs i32) (local $odd i32) (local $low v128) (local $high v128)
    (block $done
      (loop $level
        (br_if $done (i32.le_u (local.get $count) (local.get $until)))
        (local.set $pairs (i32.shr_u (local.get $count) (i32.const 1)))
        (local.set $odd (i32.add (local.get $at) (i32.mul (local.get $pairs) (i32.const {2 * CV_BYTES}))))
        ;; read first: the last lanes write past their pairs
        (local.set $low (v128.load (local.get $odd)))
        (local.set $high (v128.load offset=16 (local.get $odd)))
        (call $hash (local.get $at) (i32.const {BLOCK_BYTES}) (local.get $pairs) (local.get $at) (i64.const 0)
          (i64.const 0) (i32.const 1) (i32.const {BLOCK_BYTES}) (i32.const {PARENT}) (i32.const 0))
        (local.set $odd (i32.add (local.get $at) (i32.mul (local.get $pairs) (i32.const {CV_BYTES}))))
        (if (i32.and (local.get $count) (i32.const 1)) (then
          (v128.store (local.get $odd) (local.get $low))
          (v128.store offset=16 (local.get $odd) (local.get $high))))
        (local.set $count (i32.add (local.get $pairs) (i32.and (local.get $count) (i32.const 1))))
        (br $level))))"""


def _splat(value: int) -> str:
    return f"(i32x4.splat (i32.const {value}))"


def _shuffle(words: Sequence[int], left: str, right: str) -> str:
    places = " ".join(str(4 * word + byte) for word in words for byte in range(4))
    return f"(i8x16.shuffle {places} (local.get ${left}) (local.get ${right}))"


def _transpose(into: Sequence[str]) -> str:
    """Turn the rows r0 to r3 into columns: word n of each lane into one register."""
    return f"""
        (local.set $t {_shuffle((0, 4, 1, 5), "r0", "r1")})
        (local.set $r1 {_shuffle((2, 6, 3, 7), "r0", "r1")})
        (local.set $r0 {_shuffle((0, 4, 1, 5), "r2", "r3")})
        (local.set $r3 {_shuffle((2, 6, 3, 7), "r2", "r3")})
        (local.set ${into[0]} {_shuffle((0, 1, 4, 5), "t", "r0")})
        (local.set ${into[1]} {_shuffle((2, 3, 6, 7), "t", "r0")})
        (local.set ${into[2]} {_shuffle((0, 1, 4, 5), "r1", "r3")})
        (local.set ${into[3]} {_shuffle((2, 3, 6, 7), "r1", "r3")})"""


def _load_four_words(word: int) -> str:
    rows = "\n".join(
        f"(local.set $r{lane} (v128.load offset={4 * word} "
        f"(i32.add (local.get $at) (i32.mul (local.get $stride) (i32.const {lane})))))"
        for lane in range(_LANES)
    )
    return rows + _transpose([f"m{word + index}" for index in range(4)])


def _store_four_words(word: int) -> str:
    rows = "\n".join(f"(local.set $r{index} (local.get $h{word + index}))" for index in range(4))
    out = "\n".join(
        f"(v128.store offset={lane * CV_BYTES + 4 * word} (local.get $out) (local.get $v{lane}))"
        for lane in range(_LANES)
    )
    return rows + _transpose([f"v{lane}" for lane in range(_LANES)]) + out


def _set_state() -> str:
    """The sixteen words at the start of a compression (section 2.2)."""
    counters = [
        f"(i64.add (local.get $counter) (i64.mul (local.get $step) (i64.const {lane})))" for lane in range(_LANES)
    ]
    low, high = "(i32x4.splat (i32.const 0))", "(i32x4.splat (i32.const 0))"
    for lane, counter in enumerate(counters):
        low = f"(i32x4.replace_lane {lane} {low} (i32.wrap_i64 {counter}))"
        high = f"(i32x4.replace_lane {lane} {high} (i32.wrap_i64 (i64.shr_u {counter} (i64.const 32))))"
    lengths, flags = "(i32x4.splat (local.get $length))", "(i32x4.splat (local.get $flags))"
    words = [f"(local.get $h{index})" for index in range(8)]
    words += [_splat(_IV[index]) for index in range(4)]
    words += [low, high, lengths, flags]
    return "\n".join(f"(local.set $v{index} {word})" for index, word in enumerate(words))


def _rounds() -> str:
    order, text = list(range(16)), list[str]()
    for _ in range(7):
        for number, places in enumerate((*_COLUMNS, *_DIAGONALS)):
            text.append(_quarter(places, order[2 * number], order[2 * number + 1]))
        order = [order[place] for place in _PERMUTATION]
    return "\n".join(text)


def _quarter(places: tuple[int, int, int, int], x: int, y: int) -> str:
    a, b, c, d = (f"$v{place}" for place in places)
    return "".join(
        f"""
        (local.set {a} (i32x4.add (i32x4.add (local.get {a}) (local.get {b})) (local.get $m{message})))
        (local.set {d} {_rotate(f"(v128.xor (local.get {d}) (local.get {a}))", by_d)})
        (local.set {c} (i32x4.add (local.get {c}) (local.get {d})))
        (local.set {b} {_rotate(f"(v128.xor (local.get {b}) (local.get {c}))", by_b)})"""
        for message, by_d, by_b in ((x, 16, 12), (y, 8, 7))
    )


def _rotate(value: str, by: int) -> str:
    """Rotate to the right; whole bytes by moving them, which is one instruction."""
    if by % 8 == 0:
        places = " ".join(str(4 * word + (byte + by // 8) % 4) for word in range(4) for byte in range(4))
        return f"(i8x16.shuffle {places} (local.tee $t {value}) (local.get $t))"
    return (
        f"(v128.or (i32x4.shr_u (local.tee $t {value}) (i32.const {by})) "
        f"(i32x4.shl (local.get $t) (i32.const {32 - by})))"
    )
