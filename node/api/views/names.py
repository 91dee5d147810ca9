"""Words that several views share."""

from typing import Literal, TypeAlias

AuctionFormatName: TypeAlias = Literal["second-price", "first-price", "open"]
VerificationName: TypeAlias = Literal["trust", "audit", "copies", "test"]
AuditName: TypeAlias = Literal["", "not drawn", "equal", "passed", "undecided"]
ComparedName: TypeAlias = Literal["", "equal", "undecided", "different", "contested"]
RailName: TypeAlias = Literal["channel", "escrow"]
TaskFilter: TypeAlias = Literal["all", "open"]
TaskState: TypeAlias = Literal["bidding", "funding", "awarded", "running", "standby", "done", "failed", "cancelled"]
FinalState: TypeAlias = Literal["done", "failed", "cancelled"]
