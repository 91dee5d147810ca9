"""Watchtowers: whether what this node has earned is safe while it is away."""

import trio

from node.api.views.watch import WatchReport
from node.app.doctor.finding import Finding, Patient, ok, warning
from protocol.identity import format_address
from protocol.units import format_amount


async def check_towers(patient: Patient) -> list[Finding]:
    """What the running node knows of its towers; nothing if it neither has nor needs one."""
    await trio.lowlevel.checkpoint()
    if patient.running is None or patient.running.watch is None:
        return []
    return judge_towers(patient.running.watch)


def judge_towers(report: WatchReport) -> list[Finding]:
    """Say which towers don't answer, and which channels none of them holds."""
    bare = [channel for channel in report.channels if not channel.covered]
    at_stake = format_amount(sum(channel.at_stake for channel in bare))
    if not report.towers:
        if not bare:
            return []
        text = f"none set; {at_stake} in {len(bare)} channels would be lost if the payers left while this node is away"
        return [warning("watchtowers", text, "run a second node, or ask a friend: docs/operations/watchtower.md")]
    found = [
        warning(
            "watchtowers",
            f"{format_address(tower.wallet)}: {tower.trouble}",
            "ask its operator; it has to run, and to have this wallet in watchtower.clients",
        )
        for tower in report.towers
        if tower.trouble
    ]
    problems = [
        f"{channel.channel.hex()[:12]} ({held.problem})" for channel in bare for held in channel.towers if held.problem
    ]
    if bare:
        text = f"no tower holds the newest of {len(bare)} channels with {at_stake} at stake"
        told = f"{text}: {'; '.join(problems[:3])}" if problems else text
        advice = "see stoa watch list; a moment after a payment it may just be on its way"
        found.append(warning("watchtowers", told, advice))
    if found:
        return found
    count = len(report.channels)
    return [ok("watchtowers", f"{len(report.towers)} answer, and hold what is at stake in {count} channels")]
