"""The wire's schema twice: as the code has it, and as docs/spec tells it. The tests compare the two.

Types are spelled as the page spells them:

    uint8 … uint128, address, bytes32, signature, bool      of fixed size
    text(200), bytes(64)                                     at most so many bytes
    Bid[256]                                                 at most so many items
    Bid?                                                     nil or a Bid
    Signed<Bid>                                              [Bid, signature]
    (text(256), text(256))                                   an array of exactly these
    TwoRolls or TwoAwards                                    told apart by their numbers
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin, get_type_hints

from node.networking.discovery import PeersExchange
from node.networking.lookup.finder import FindQuestion
from node.networking.relay.reach import ReachAnswer, ReachQuestion
from protocol.channel.messages import (
    CloseProposal,
    NewestAnswer,
    NewestRequest,
    ReleaseAnswer,
    ReleaseRequest,
    VoucherHeld,
)
from protocol.channel.objects import Close, Hold, Voucher
from protocol.channel.watch_messages import (
    HandAnswer,
    HandRequest,
    KeptAnswer,
    KeptRequest,
    WatchStateAnswer,
    WatchStateRequest,
)
from protocol.dispute.messages import Dossier, DossierRequest, OpeningsNotice, PapersNotice, SealsNotice
from protocol.dispute.objects import Opening, Verdict, Vote
from protocol.escrow.objects import Settlement
from protocol.identity import PeerId
from protocol.market.messages import MarketMessage
from protocol.market.objects import Award, Bid, Commitment, Offer, Roll, RollLeaf, SealedBid
from protocol.node_record import NodeRecord
from protocol.reputation.feedback import AgentAnswer, AgentRequest
from protocol.reputation.scores import ScoreProof, ScoreRequest
from protocol.scalars import find_scalar
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import type_string
from protocol.signing.signed import Signed
from protocol.task.manifest import Manifest
from protocol.task.messages import (
    AwardNotice,
    CancelNotice,
    FailureNotice,
    FundingNotice,
    PaymentNotice,
    ProgressNotice,
    ReceiptNotice,
    SealNotice,
    StartNotice,
    VoucherNotice,
)
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.task.verification import Verification
from protocol.wire.codec import MaxLen

ROOT: Final = Path(__file__).resolve().parents[2]
SPEC: Final = ROOT / "docs/spec"
MESSAGES: Final = SPEC / "wire-messages.md"
OBJECTS: Final = SPEC / "objects.md"
WIRE: Final = SPEC / "wire.md"

BELOW_STREAMS: Final = {"/multistream/1.0.0", "/yamux/1.0.0"}

FLAT: Final = (
    Offer, Commitment, Roll, Bid, Award, Start, Voucher, Receipt, Acceptance, Verdict, Close, Settlement,
    SealedBid, RollLeaf, Hold, NodeRecord, Opening, Vote,
)  # fmt: skip
"""Structs whose Solidity type string is told, and with it their fields on the wire."""

ROOTS: Final[tuple[Any, ...]] = (
    MarketMessage, Manifest, Verification, PeersExchange, AwardNotice, FundingNotice, StartNotice, ProgressNotice,
    ReceiptNotice, PaymentNotice, FailureNotice, CancelNotice, SealNotice, VoucherNotice, VoucherHeld,
    ReleaseRequest, ReleaseAnswer, NewestRequest, NewestAnswer, CloseProposal,
    ReachQuestion, ReachAnswer, FindQuestion, ScoreRequest, ScoreProof,
    DossierRequest, Dossier, PapersNotice, SealsNotice, OpeningsNotice,
    HandRequest, HandAnswer, WatchStateRequest, WatchStateAnswer, KeptRequest, KeptAnswer,
    AgentRequest, AgentAnswer,
)  # fmt: skip
"""Everything that is encoded by itself somewhere."""


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct on the wire: its number if it stands in a union, and its fields in order, each with its type."""

    number: int | None
    fields: tuple[tuple[str, str], ...]


def schema_of_the_code() -> dict[str, Struct]:
    """Return every struct that is reachable from `ROOTS` and is not told by a type string."""
    found: dict[str, Struct] = {}
    for root in ROOTS:
        _collect(root, found)
    return found


def schema_of_the_page() -> dict[str, Struct]:
    """Read the tables of the page of messages."""
    found: dict[str, Struct] = {}
    sections = re.split(r"^#### ", MESSAGES.read_text(), flags=re.MULTILINE)[1:]
    for section in sections:
        head = re.match(r"(\w+)(?:, number (\d+))?\n", section)
        assert head, f"a heading that names no struct: {section[:40]!r}"
        name, number = head.groups()
        rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, flags=re.MULTILINE)
        assert name not in found, f"{name} is told twice"
        found[name] = Struct(int(number) if number else None, tuple(rows))
    return found


def type_strings_of_the_code() -> dict[str, str]:
    """Return the Solidity types of the flat structs, by name."""
    return {cls.__name__: type_string(cls) for cls in FLAT}


def type_strings_of_the_page() -> dict[str, str]:
    """Read the types of objects.md and of the page of messages."""
    found: dict[str, str] = {}
    for page in (OBJECTS, MESSAGES):
        for block in re.findall(r"```\n(.*?)```", page.read_text(), flags=re.DOTALL):
            joined = re.sub(r",\n\s+", ",", block)
            types = re.findall(r"^(\w+)\(([^)]*)\)", joined, flags=re.MULTILINE)
            found |= {name: f"{name}({members})" for name, members in types}
    return found


def methods_of_the_page() -> dict[str, tuple[str, int]]:
    """Read the table of methods: what a body is, and the most bytes that it may have."""
    rows = re.findall(r"^\| `([a-z]+(?:/[a-z]+)?)` \| \w+ \| `(\w+)` \| ([\d,]+) \|", WIRE.read_text(), re.MULTILINE)
    return {method: (body, int(limit.replace(",", ""))) for method, body, limit in rows}


def answers_of_the_page() -> dict[str, tuple[str, str]]:
    """Read both tables of methods, also of those that not every node serves: what a body and what an answer is."""
    everybody = r"^\| `([a-z]+(?:/[a-z]+)?)` \| \w+ \| `(\w+)` \| [\d,]+ \| (.+) \|$"
    concerned = r"^  \| `([a-z]+/[a-z]+)` \| \w+ \| [\d,]+ \| `(\w+)` \| (.+) \|$"
    text = WIRE.read_text()
    rows = [*re.findall(everybody, text, re.MULTILINE), *re.findall(concerned, text, re.MULTILINE)]
    return {method: (body, answer.strip("`")) for method, body, answer in rows}


def methods_of_the_code() -> dict[str, str]:
    """Return every request method that some module of ours names, and the module."""
    return _named_in_the_code(r'^\w*METHOD: Final = "([^"]+)"$')


def stream_protocols_of_the_code() -> dict[str, str]:
    """Return every protocol of streams that some module of ours names, and the module; not the layers below them."""
    named = _named_in_the_code(r'^[A-Z]+: Final = (?:\w+\()?"(/[a-z][a-z0-9]+/[^"]+)"\)?$')
    return {name: path for name, path in named.items() if name not in BELOW_STREAMS}


def stream_protocols_of_the_page() -> set[str]:
    """Read the table of the layers."""
    return set(re.findall(r"^\| `(/[^`]+)` \|", WIRE.read_text(), re.MULTILINE))


def _named_in_the_code(pattern: str) -> dict[str, str]:
    return {
        name: str(path.relative_to(ROOT))
        for room in ("node", "protocol")
        for path in sorted((ROOT / room).rglob("*.py"))
        for name in re.findall(pattern, path.read_text(), re.MULTILINE)
    }


def spell(hint: Any) -> str:
    """Write a type as the page does."""
    scalar = find_scalar(hint)
    if scalar is not None:
        return scalar.solidity
    if hint is Signature:
        return "signature"
    if hint is PeerId:
        return "text(64)"
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limit = next(extra.limit for extra in args[1:] if isinstance(extra, MaxLen))
        base = args[0]
        if base in (str, bytes):
            return f"{'text' if base is str else 'bytes'}({limit})"
        return f"{spell(get_args(base)[0])}[{limit}]"
    if origin in (Union, UnionType):
        members = [each for each in args if each is not NoneType]
        joined = " or ".join(map(spell, members))
        return f"{joined}?" if len(members) < len(args) else joined
    if origin is tuple:
        return f"({', '.join(map(spell, args))})"
    if origin is Signed:
        return f"Signed<{spell(args[0])}>"
    return cast("type", hint).__name__


def _collect(hint: Any, found: dict[str, Struct]) -> None:
    for cls in _structs_in(hint):
        if cls in FLAT or cls is Signed or cls.__name__ in found:
            continue
        hints = get_type_hints(cls, include_extras=True)
        members = [(field.name, hints[field.name]) for field in fields(cls)]
        found[cls.__name__] = Struct(
            getattr(cls, "__wire_tag__", None), tuple((name, spell(each)) for name, each in members)
        )
        for _, each in members:
            _collect(each, found)


def _structs_in(hint: Any) -> Iterable[Any]:
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for each in get_args(hint):
        yield from _structs_in(each)


if __name__ == "__main__":
    for struct_name, struct in schema_of_the_code().items():
        print(f"#### {struct_name}" + (f", number {struct.number}" if struct.number is not None else ""))  # noqa: T201
        print("\n| field | type | |\n|---|---|---|")  # noqa: T201
        for field_name, field_type in struct.fields:
            print(f"| `{field_name}` | `{field_type}` | |")  # noqa: T201
        print()  # noqa: T201
