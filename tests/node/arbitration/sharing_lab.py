"""Sides that show one arbiter what they hide from another, and an arbiter that helps them."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from node.arbitration.arbiter import Arbiter
from protocol.dispute.evidence import Matter
from protocol.dispute.messages import (
    DOSSIER_METHOD,
    PAPERS_METHOD,
    Dossier,
    DossierRequest,
    Papers,
    PapersNotice,
)
from protocol.dispute.papers import gist_of, read_papers
from protocol.errors import StoaError
from protocol.identity import ZERO_DIGEST, Address, Digest, PeerId
from protocol.signing.eip712 import digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import sign_struct
from protocol.wire.codec import decode, encode
from tests.node.arbitration import case_papers
from tests.node.arbitration.case_papers import MARKET, PROVIDER, REQUESTER, Person, make_papers
from tests.node.arbitration.court_lab import Away, Lab, open_case

ALL = 0b11111
SIDES = (REQUESTER.address, PROVIDER.address)
FELLOWS_UNTIL_S, NOTHING_MISSING_S = 30, 12
"""Three twelfths of the round; and when everybody has its vote if nobody is waited for."""
CHANNEL = keccak256(b"channel")
NAMED, LATER = 1, 2


def papers_of(part: int, *, channel: bytes = CHANNEL, output: bytes | None = None) -> case_papers.Papers:
    """Papers of one award of three parts: a part's receipt, and the acceptance of the one before."""
    papers = make_papers() if output is None else make_papers(output=output)
    award = replace(papers.award, channel=channel)
    award_id = digest(MARKET, award)
    receipt = replace(papers.receipt.value, award=award_id, part=part)
    before = replace(papers.before.value, award=award_id, part=part - 1)
    return replace(
        papers,
        award=award,
        receipt=sign_struct(PROVIDER.key, MARKET, receipt),
        before=sign_struct(REQUESTER.key, MARKET, before),
    )


def matter_of(papers: case_papers.Papers) -> Matter:
    receipt = papers.receipt.value
    return Matter(award=receipt.award, opener=REQUESTER.address, part=receipt.part, receipt=digest(MARKET, receipt))


def open_channel_case(folder: Path, *, output: bytes | None = None, arbiters: str = "abcde") -> Lab:
    """A case about the named part of an award over a channel: a later part may come."""
    named = papers_of(NAMED, output=output)
    lab = open_case(folder, named, arbiters=arbiters)
    for each in (NAMED, LATER):
        lab.network.holders[papers_of(each).receipt.value.output] = {PROVIDER.address}
    for runner in lab.runners.values():
        runner.part = None
    return lab


def to(names: str, dossier: Dossier, others: Dossier | None) -> Callable[[str], Dossier | None]:
    return lambda name: dossier if name in names else others


def have_voted(arbiters: Iterable[Arbiter]) -> bool:
    return all(one.sittings() and one.sittings()[0].has_vote for one in arbiters)


def peer_of(wallet: bytes) -> PeerId:
    return PeerId(wallet.hex())


def show(lab: Lab, who: Person, shown_to: Callable[[str], Dossier | None]) -> list[str]:
    """Let a side answer each arbiter, by name, with what it chooses for it; None for no answer. Return who asked."""
    names = {one.address: name for name, one in lab.people.items()}
    asked: list[str] = []

    async def answer(peer: PeerId, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        decode(DossierRequest, body, max_bytes=1024)
        name = names[Address(bytes.fromhex(str(peer)))]
        asked.append(name)
        dossier = shown_to(name)
        if dossier is None:
            raise Away("it does not answer this one")
        return encode(dossier)

    lab.network.show(lab.case, who, lab.case.dossier())  # and the blobs
    lab.network.handlers[who.address, DOSSIER_METHOD] = answer
    return asked


def gist(lab: Lab, papers: Papers | None) -> Digest:
    """Return what an arbiter says of papers that it has."""
    return ZERO_DIGEST if papers is None else gist_of(read_papers(MARKET, matter_of(lab.case), papers))


@dataclass
class Mallory:
    """An arbiter that tells each fellow what it likes. It has no vote."""

    lab: Lab
    name: str
    tells: Callable[[str], PapersNotice | bytes | None]
    """What it tells an arbiter, by name; None for silence."""
    heard: list[PapersNotice] = field(default_factory=list[PapersNotice])

    def __post_init__(self) -> None:
        self.lab.silent.add(self.name)
        self.lab.network.handlers[self.address, PAPERS_METHOD] = self._answer

    @property
    def address(self) -> Address:
        return self.lab.people[self.name].address

    def notice(
        self, papers: Papers | None, *, gist_told: Digest | None = None, has: bool | None = None
    ) -> PapersNotice:
        return PapersNotice(
            award=self.lab.case.terms.award_id,
            round=0,
            gist=gist(self.lab, papers) if gist_told is None else gist_told,
            is_final=True,
            has_output=has,
            papers=papers,
        )

    def _body(self, name: str) -> bytes:
        told = self.tells(name)
        if told is None:
            raise Away("it tells this one nothing")
        return told if isinstance(told, bytes) else encode(told)

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        names = {one.address: name for name, one in self.lab.people.items()}
        self.heard.append(decode(PapersNotice, body, max_bytes=1 << 20))
        return self._body(names[Address(bytes.fromhex(str(peer)))])

    async def tell(self, name: str) -> None:
        """Tell an arbiter, as often as it takes until it listens."""
        key = self.lab.people[name].address, PAPERS_METHOD
        with trio.fail_after(100):
            while key not in self.lab.network.handlers:
                await trio.sleep(0.1)
        with suppress(StoaError):
            await self.lab.network.handlers[key](PeerId(self.address.hex()), self._body(name))
