"""The signed object that only an escrow knows (docs/spec/escrow.md, section 1)."""

from dataclasses import dataclass

from protocol.identity import Digest
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Both parties of an escrowed award agree on its end: `due` in all for the provider, the rest goes back.

    Signed by requester and provider. Void after `settle_by`.
    """

    award: Digest
    due: Amount
    settle_by: UnixTime
