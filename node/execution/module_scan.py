"""Cheap checks of a module, before the compiler sees it: is it a binary module at all, and within the engine's caps?

A compiler's cost is not bounded by a module's size (a hundred kilobytes of locals cost half a minute), so what drives
it is counted here, in time linear in the number of functions. Only the frame of the binary is read; that the rest is
valid WebAssembly is the compiler's business. Source: WebAssembly Core Specification 2.0, section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.execution.errors import InvalidModule
from protocol.task.engine import EngineDescription, cap_of

MAGIC: Final = b"\0asm"
VERSION: Final = b"\1\0\0\0"
SECTION_IDS: Final = range(13)

# Section ids whose item count is capped, and the cap's name.
COUNTED: Final = {
    1: "types",
    2: "imports",
    3: "functions",
    4: "tables",
    6: "globals",
    7: "exports",
    11: "data_segments",
}
TABLE: Final = 4
MEMORY: Final = 5
ELEMENTS: Final = 9
CODE: Final = 10
PAGE_BYTES: Final = 65_536


@dataclass(slots=True)
class _Reader:
    """A position in the module's bytes, and the end of what may be read."""

    data: memoryview
    at: int
    end: int

    def u32(self) -> int:
        """Read an unsigned LEB128 of at most 32 bits."""
        value = shift = 0
        while True:
            if self.at >= self.end:
                raise InvalidModule("the module ends in the middle of a number")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
            shift += 7
            if shift > 28:
                raise InvalidModule("a number in the module has more than 32 bits")
        if value > 0xFFFFFFFF:
            raise InvalidModule("a number in the module has more than 32 bits")
        return value

    def byte(self) -> int:
        """Read one byte."""
        if self.at >= self.end:
            raise InvalidModule("the module ends in the middle of a section")
        self.at += 1
        return self.data[self.at - 1]

    def part(self, length: int) -> "_Reader":
        """Return a reader of the next `length` bytes and step over them."""
        if self.at + length > self.end:
            raise InvalidModule("a part of the module is longer than what contains it")
        inner = _Reader(self.data, self.at, self.at + length)
        self.at += length
        return inner


def scan_module(data: memoryview, engine: EngineDescription) -> None:
    """Check a module's frame against the engine's caps.

    Raises:
        InvalidModule: It is no binary module (WAT text, a component, garbage), its sections don't fit, or it is over a
            cap. The message says which.
    """
    cap: Callable[[str], int] = lambda name: cap_of(engine, name)  # noqa: E731
    if len(data) > cap("module_bytes"):
        raise InvalidModule(f"{len(data)} bytes, at most {cap('module_bytes')} are allowed")
    if bytes(data[:4]) != MAGIC:
        hint = "; it looks like text: compile it to binary first" if _looks_like_text(data) else ""
        raise InvalidModule(f"not a WebAssembly module (no magic bytes){hint}")
    if bytes(data[4:8]) != VERSION:
        raise InvalidModule("not a core WebAssembly module of version 1 (a component?)")
    reader = _Reader(data, 8, len(data))
    while reader.at < reader.end:
        kind = reader.byte()
        if kind not in SECTION_IDS:
            raise InvalidModule(f"section {kind} is not part of WebAssembly 2.0")
        section = reader.part(reader.u32())
        if kind in COUNTED:
            _check_count(_Reader(data, section.at, section.end), COUNTED[kind], cap)
        if kind == TABLE:
            _check_tables(section, cap("table_elements"))
        elif kind == ELEMENTS and section.end - section.at > 16 * cap("table_elements"):
            raise InvalidModule("the element section is larger than all tables can be")
        elif kind == CODE:
            _check_code(section, cap)


def first_memory_bytes(data: memoryview) -> int:
    """Return how much linear memory a module has at its start, in bytes.

    Args:
        data: A module that `scan_module` took.

    Raises:
        InvalidModule: It is damaged.
    """
    reader = _Reader(data, 8, len(data))
    while reader.at < reader.end:
        kind = reader.byte()
        section = reader.part(reader.u32())
        if kind == MEMORY and section.u32() > 0:
            section.byte()  # whether there is a most
            return section.u32() * PAGE_BYTES
    return 0


def _looks_like_text(data: memoryview) -> bool:
    return bytes(data[:64]).lstrip()[:1] in (b"(", b";")


def _check_count(section: _Reader, name: str, cap: Callable[[str], int]) -> None:
    count = section.u32()
    if count > cap(name):
        raise InvalidModule(f"{count} {name.replace('_', ' ')}, at most {cap(name)} are allowed")


def _check_tables(section: _Reader, elements: int) -> None:
    for _ in range(section.u32()):
        if section.byte() == 0x40:  # a table with an initial value, from a later proposal
            raise InvalidModule("tables with initial values are not part of WebAssembly 2.0")
        flags = section.byte()
        first = section.u32()
        if flags & 1:
            section.u32()
        if first > elements:
            raise InvalidModule(f"a table of {first} elements, at most {elements} are allowed")


def _check_code(section: _Reader, cap: Callable[[str], int]) -> None:
    function_bytes, function_locals, total_cap = cap("function_bytes"), cap("function_locals"), cap("total_locals")
    total = 0
    for _ in range(section.u32()):
        size = section.u32()
        if size > function_bytes:
            raise InvalidModule(f"a function of {size} bytes, at most {function_bytes} are allowed")
        body = section.part(size)
        declared = 0
        for _ in range(body.u32()):
            declared += body.u32()
            if declared > function_locals:
                raise InvalidModule(f"a function with more than {function_locals} local variables")
            body.byte()
        total += declared
        if total > total_cap:
            raise InvalidModule(f"more than {total_cap} local variables in all functions together")
