"""Which histories a node throws away, and that none goes while somebody may still ask for it."""

from typing import get_args

from node.app.terms import LONGEST_OFFER_S
from node.app.tidying import DAY_S, KEEP_BIDS_D, keep_s
from node.config.machine import StorageSettings
from node.config.trade import RequesterSettings
from node.market import auction_run, bidding_run, comparing, delivery_run, hiring, purchase_run
from node.payments import channel_payee, channel_payer, escrow_payee, escrow_payer
from node.reputation import anchoring
from protocol.identity import Digest

ID = Digest(bytes(32))
ROOMS = (auction_run, bidding_run, comparing, delivery_run, hiring, purchase_run)


def most(model: type, name: str) -> int:
    """Return the greatest value that a setting may have."""
    field = getattr(model, "model_fields")[name]  # noqa: B009 - pydantic gives it no type here
    bounds = [each.le for each in field.metadata if hasattr(each, "le")]
    if not bounds:  # an optional number keeps its bounds inside
        (inner, _) = get_args(field.annotation)
        bounds = [each.le for each in getattr(inner, "__metadata__", ()) if hasattr(each, "le")]
    return bounds[0]


def test_market_histories_are_pruned_and_money_is_not() -> None:
    rules = keep_s(90)
    pruned = {prefix for prefix in rules for room in ROOMS if room.stream_of(ID).startswith(prefix)}
    assert len(pruned) == len(ROOMS)
    assert pruned | {anchoring.PREFIX} == set(rules)
    kept = [each.PREFIX for each in (channel_payee, channel_payer, escrow_payee, escrow_payer)]
    kept += ["transactions", "spending", "restoration", "misconduct", "conduct"]
    assert not [name for name in kept for prefix in rules if f"{name}/".startswith(prefix)]


def test_nothing_goes_before_its_last_deadline() -> None:
    assert KEEP_BIDS_D * DAY_S > LONGEST_OFFER_S
    least = next(each.ge for each in StorageSettings.model_fields["keep_history_d"].metadata if hasattr(each, "ge"))
    rules = keep_s(least)
    longest_part_s = DAY_S
    dispute_s = LONGEST_OFFER_S + longest_part_s + 2 * most(RequesterSettings, "pace_s")
    dispute_s += most(RequesterSettings, "resolve_within_s")
    assert min(rules["delivery/"], rules["purchase/"]) > dispute_s
    assert rules["auction/"] > rules["purchase/"]  # a task without its auction could not be shown
