"""Since when a claim is wanted: patience for cheap gas counts from there. Pure: it follows from a channel's stream."""

from protocol.channel import payee
from protocol.channel.receiving import Ended, PayeeState, SubmitClaim
from protocol.units import UnixTime


def wanted_since(before: UnixTime | None, channel: PayeeState) -> UnixTime | None:
    """Return since when a claim is due in this state that is not confirmed; None if none is.

    Args:
        before: What it was before the step that led to `channel`: a claim that goes on being due keeps its time.
        channel: The state, with the time of the newest confirmed block in it.
    """
    if isinstance(channel, Ended) or not any(isinstance(each, SubmitClaim) for each in payee.outstanding(channel)):
        return None
    return channel.purse.seen_at if before is None else before
