# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Strangers at the door: handshakes that are not finished, too many of them, addresses that bring nothing good."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.libp2p.secure import Identity
from node.networking.limits import STRIKES
from node.networking.peers.doorway import ALL_ARRIVALS, BANS_FORGIVEN, CHANCE_S, REFUSED_S
from tests.node.networking.conftest import host_key


async def test_unfinished_handshakes_shut_nobody_out(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, max_handshakes=3) as one, lab.node(2) as two:
        held = [await lab.dial_raw(one) for _ in range(3)]
        await trio.sleep(CHANCE_S)
        await two.connect(one.addresses[0])
        ended = 0
        for stream in held:
            await stream.receive_some()  # the header
            with trio.move_on_after(0.1):
                ended += await stream.receive_some() == b""
        assert ended == 1


async def test_handshakes_have_a_rate_in_all(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, max_connections_per_host=1000) as one, lab.node(2) as two:
        answered = 0
        for _ in range(2 * int(ALL_ARRIVALS.burst)):
            stream = await lab.dial_raw(one)
            answered += await stream.receive_some() != b""
            await stream.aclose()
        assert answered == pytest.approx(ALL_ARRIVALS.burst, abs=10)
        await trio.sleep(1)
        await two.connect(one.addresses[0])


async def test_an_address_that_brings_peers_which_are_banned_is_refused_for_a_while(
    lab: Any, autojump_clock: MockClock
) -> None:
    async def misbehave(number: int) -> None:
        async with lab.attacker(one, number, host="127.0.0.66") as attacker:
            one._switch.strike(Identity(host_key(number)).peer, "test", weight=STRIKES + 1)
            with trio.fail_after(30):
                await attacker.ended.wait()

    async with lab.node(1, host="127.0.0.1") as one, lab.node(2, host="127.0.0.2") as two:
        for number in range(100, 100 + int(BANS_FORGIVEN.burst) + 1):
            await misbehave(number)
        with pytest.raises(Exception, match=r"left|closed|broke"):
            await misbehave(120)
        await two.connect(one.addresses[0])  # another address is none the worse for it
        await trio.sleep(REFUSED_S)
        await misbehave(121)


async def test_an_address_where_a_chosen_peer_lives_is_not_refused(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, host="127.0.0.1") as one, lab.node(2, host="127.0.0.66") as two:
        await one.connect(two.addresses[0])
        one._switch.protected.add(two.peer_id)
        for number in range(100, 110):
            async with lab.attacker(one, number, host="127.0.0.66") as attacker:
                one._switch.strike(Identity(host_key(number)).peer, "test", weight=STRIKES + 1)
                with trio.fail_after(30):
                    await attacker.ended.wait()
        assert [info.peer for info in one.peers()] == [two.peer_id]
