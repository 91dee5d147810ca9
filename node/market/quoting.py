"""What this node would ask for a task, and whether it wants it at all."""

import math
from dataclasses import dataclass
from typing import Final

from node.config.values import WorkingHours
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, format_address
from protocol.market.objects import Offer
from protocol.task.manifest import Manifest
from protocol.task.pricing import Rates, price_at_limits
from protocol.task.testing import price_of_tests
from protocol.task.verification import ByTest, Copies, Trust, Verification, blobs_of
from protocol.units import Amount, Seconds, format_amount

ETA_FLOOR_S: Final = 5
"""No promise below this: a gossip heartbeat, a page fault and a neighbour's task all take time too."""


class NotWanted(ProtocolError):
    """A task that this node does not bid on, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SellingTerms:
    """What the operator sells, and to whom.

    Attributes:
        rates: Asked prices.
        memory_mib: Most memory that a task may ask for.
        input_mib: Most that its module and all its inputs may have together.
        output_mib: Most output that one of its parts may have.
        max_eta_s: Longest work that is taken on.
        fuel_per_s: What this machine was measured to do on one core.
        allow: If not empty, only these requesters are served.
        deny: These never are.
        credit_limit: Most that one part without an arbiter may cost (M2).
        hours: When new work is taken, in local time; None means always.
    """

    rates: Rates
    memory_mib: int
    input_mib: int
    output_mib: int
    max_eta_s: int
    fuel_per_s: int
    allow: frozenset[Address] = frozenset()
    deny: frozenset[Address] = frozenset()
    credit_limit: Amount
    hours: WorkingHours | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A bid's two figures."""

    price: Amount
    eta: Seconds


def quote(
    terms: SellingTerms, engine: Digest, offer: Offer, manifest: Manifest, policy: Verification, *, minute: int
) -> Quote:
    """Return what to bid for the whole task at its limits; `minute` is that of the local day.

    Raises:
        NotWanted: The first reason not to bid, in words that are logged and shown to the operator.
        InvalidPrice: Rates and limits whose price no bid can carry.
    """
    _check_requester(terms, offer.requester)
    if terms.hours is not None and not terms.hours.contains(minute):
        raise NotWanted(f"no work is taken outside {terms.hours}")
    if manifest.engine != engine:
        raise NotWanted("the task wants another engine")
    _check_size(terms, manifest, policy)
    eta = _eta(terms, manifest, policy) + _waits(terms, offer, manifest, policy)
    if eta > min(offer.max_eta, terms.max_eta_s):
        raise NotWanted(f"the work may take {eta} s here; the offer allows {offer.max_eta}, we {terms.max_eta_s}")
    price = price_at_limits(terms.rates, manifest, 0, len(manifest.parts))
    price = Amount(price + price_of_tests(terms.rates, policy, len(manifest.parts)))
    if price > offer.budget:
        raise NotWanted(f"it would cost {format_amount(price)} here, the budget is {format_amount(offer.budget)}")
    return Quote(price=price, eta=Seconds(eta))


def _check_requester(terms: SellingTerms, requester: Address) -> None:
    if requester in terms.deny:
        raise NotWanted(f"{format_address(requester)} is on the deny list")
    if terms.allow and requester not in terms.allow:
        raise NotWanted(f"{format_address(requester)} is not on the allow list")


def _check_size(terms: SellingTerms, manifest: Manifest, policy: Verification) -> None:
    inputs = sum(blob.size for blob in (*manifest.blobs(), *blobs_of(policy)))
    memory_mib = max(manifest.limits.memory_mib, policy.memory_mib if isinstance(policy, ByTest) else 0)
    for what, wanted_mib, sold_mib in (
        ("of memory", memory_mib, terms.memory_mib),
        ("of module and inputs", math.ceil(inputs / 2**20), terms.input_mib),
        ("of output a part", math.ceil(manifest.limits.output_bytes / 2**20), terms.output_mib),
    ):
        if wanted_mib > sold_mib:
            raise NotWanted(f"the task wants {wanted_mib} MiB {what}, this node allows {sold_mib}")


def _eta(terms: SellingTerms, manifest: Manifest, policy: Verification) -> int:
    """Time at full limits on one core: a promise must hold for the slowest input that the limits admit.

    Where a test judges the output, we run it too before we sign for one (TM5).
    """
    fuel = (manifest.limits.fuel + (policy.fuel if isinstance(policy, ByTest) else 0)) * len(manifest.parts)
    overhead_s = len(manifest.parts)  # one second a part for fetching, storing and being paid
    return max(ETA_FLOOR_S, math.ceil(fuel / terms.fuel_per_s) + overhead_s)


def _waits(terms: SellingTerms, offer: Offer, manifest: Manifest, policy: Verification) -> int:
    """Time in which parts but the last may wait for their pay, since the requester looks at them again first (BI15).

    Our own pace is taken for the requester's, which nobody knows; after its `pace` it pays without a second result.
    With copies a part may wait for those of others first.
    """
    if isinstance(policy, Trust):
        return 0
    looked_at = policy.fuel if isinstance(policy, ByTest) else manifest.limits.fuel
    part_s = math.ceil(looked_at / terms.fuel_per_s) + 1
    runs = 2 if isinstance(policy, Copies) else 1
    return (len(manifest.parts) - 1) * min(runs * part_s, offer.pace)
