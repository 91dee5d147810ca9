"""The chain: whether it is the right one, answers, is up to date, and has money of ours."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import trio

from node.api.views.status import PeerView, TransactionView
from node.app.doctor.finding import Finding, Patient, broken, ok, warning
from node.app.doors.status import LOW_GAS_WEI
from node.app.identity import LIFETIME_S
from node.app.terms import chain_profile
from node.chain.chain import Block, Chain
from node.chain.deployment import Deployment, load_deployment
from node.chain.errors import ChainTimeout, ChainUnreachable
from node.chain.opening import open_chain
from node.chain.token import Token
from node.operations.clock import SystemClock
from node.wallet import key_files
from protocol.errors import ConfigError
from protocol.identity import Address, parse_address
from protocol.units import format_amount

WINDOW_S: Final = 3
"""Clocks further apart than this miss windows of the usual second or two."""
STALE_S: Final = 600
"""A head this old means a chain that stands still, or a clock far ahead."""
BEHIND_S: Final = 120
WEI: Final = 10**18


async def check_chain(patient: Patient) -> list[Finding]:
    """Everything that one connection to the chain's node can tell."""
    settings = patient.settings
    deployment = await trio.to_thread.run_sync(
        load_deployment, settings.chain.deployments or settings.node.data_dir / "deployments.json"
    )
    # Raises, with what to do, for: another chain, no contract, other code, periods too short; no answer is told below.
    try:
        return await _examine(patient, deployment)
    except (ChainUnreachable, ChainTimeout) as error:
        return [broken("chain", f"{error}{_missed_by(patient)}", "check chain.rpc_url, and that its node runs")]


def _missed_by(patient: Patient) -> str:
    """Say what the running node makes of a chain that is away."""
    status = patient.running.status if patient.running else None
    if status is None or status.chain_away_since is None:
        return ""
    since = datetime.fromtimestamp(status.chain_away_since, tz=UTC)
    return (
        f"; the running node has missed it since {since:%Y-%m-%d %H:%M:%S UTC}, goes on off-chain within its caps, and"
        " settles what it owes when the chain is back"
    )


def _contracts_of(deployment: Deployment) -> str:
    """Name the contracts that opening the chain has just looked at."""
    stakes = ("Reputation",) if deployment.has_stakes else ()
    court = ("DisputeArbiter", "Bench") if deployment.has_court else ()
    *most, last = ("Escrow", "PaymentChannel", *stakes, *court)
    return f"{', '.join(most)} and {last}"


async def _examine(patient: Patient, deployment: Deployment) -> list[Finding]:
    settings = patient.settings
    async with open_chain(chain_profile(settings), settings.chain.endpoint, deployment) as chain:
        head = await chain.head()
        found = [
            ok("chain", f"{chain.rpc.url} answers: chain {deployment.chain_id}, block {head.number}"),
            ok("contracts", f"{_contracts_of(deployment)} are there, with this release's code and terms"),
            *judge_clock(head, SystemClock().unix_time(), is_local=chain.profile.is_local),
            *_judge_lag(patient, head),
            *judge_queue(patient.running.status.transactions if patient.running else ()),
        ]
        wallet = await _wallet_of(patient)
        if wallet is not None:
            found += await _judge_money(patient, chain, deployment, wallet)
    return found


async def check_peers_clocks(patient: Patient) -> list[Finding]:
    """Compare clocks with connected peers: each signs its record with its own time."""
    await trio.lowlevel.checkpoint()
    if patient.running is None:
        return []
    return judge_peers_clocks(patient.running.peers, SystemClock().unix_time())


def judge_peers_clocks(peers: tuple[PeerView, ...], now: float) -> list[Finding]:
    """A record can't have been signed in the future, so one that was shows by how much we are behind, at least."""
    signed_at = [peer.record_expires - LIFETIME_S for peer in peers if peer.connected and peer.record_expires]
    ahead = [at - now for at in signed_at if at - now > WINDOW_S]
    if not ahead:
        return (
            [ok("clock and peers", f"no peer's clock is ahead of ours ({len(signed_at)} looked at)")]
            if signed_at
            else []
        )
    text = f"{len(ahead)} of {len(signed_at)} peers' clocks are ahead of ours, by {max(ahead):.0f} s or more"
    advice = "synchronise this clock (chronyd, systemd-timesyncd): bids that come late don't count"
    if len(ahead) * 2 > len(signed_at):
        return [broken("clock and peers", text, advice)]
    return [warning("clock and peers", text, "it may be theirs that are wrong; check that this one is synchronised")]


def judge_clock(head: Block, now: float, *, is_local: bool) -> list[Finding]:
    """Compare this machine's clock (`now`, Unix seconds) with the newest block's time."""
    ahead_s, advice = head.time - now, "synchronise this clock (chronyd, systemd-timesyncd)"
    if ahead_s > WINDOW_S and not is_local:
        return [broken("clock", f"the newest block is {ahead_s:.0f} s ahead of this machine's clock", advice)]
    if ahead_s > WINDOW_S:
        text = f"the newest block is {ahead_s:.0f} s ahead of this machine's clock"
        return [warning("clock", text, "a local chain's time may be anything; on a real one this would be broken")]
    if -ahead_s > STALE_S:
        text = f"the newest block is {-ahead_s:.0f} s old"
        return [warning("clock", text, "the chain stands still or its node is behind, or this clock is far ahead")]
    return [ok("clock", f"agrees with the newest block, {max(0.0, -ahead_s):.0f} s old")]


def _judge_lag(patient: Patient, head: Block) -> list[Finding]:
    if patient.running is None:
        return []
    status = patient.running.status
    if not status.confirmed_block:
        return [warning("chain view", "the running node has acted on no block yet", "wait; see its log if it stays so")]
    behind_s = head.time - status.confirmed_at
    text = f"the running node has acted on block {status.confirmed_block}, {behind_s} s behind the newest"
    confirmations = chain_profile(patient.settings).confirmations
    if behind_s > BEHIND_S and head.number - status.confirmed_block > 2 * confirmations:
        return [warning("chain view", text, "it reads old blocks, or its chain node answers slowly: see its log")]
    return [ok("chain view", text)]


def judge_queue(transactions: Sequence[TransactionView]) -> list[Finding]:
    """Say what the running node still owes to the chain, and why that waits."""
    waiting = [each for each in transactions if each.waits_for]
    if not waiting:
        return [ok("settling", f"{len(transactions)} transactions on their way")] if transactions else []
    first = waiting[0]
    text = f"{len(waiting)} of {len(transactions)} transactions wait; the first is to {first.title}: {first.waits_for}"
    return [warning("settling", text, "they are kept, and go out in order when that has changed")]


async def _judge_money(patient: Patient, chain: Chain, deployment: Deployment, wallet: Address) -> list[Finding]:
    gas, tokens = await chain.gas_money(wallet), await chain.token_balance(wallet)
    token, address = Token(chain), f"0x{wallet.hex()}"
    text = f"{gas / WEI:.6f} of the chain's own money"
    found: list[Finding] = []
    if gas >= LOW_GAS_WEI:
        found.append(ok("gas money", text))
    elif gas:
        found.append(warning("gas money", text, f"send some to {address}: claims and payments can't be sent without"))
    else:
        found.append(broken("gas money", f"{address} has none", f"send some to {address}: nothing can be sent without"))
    if tokens:
        found.append(ok("tokens", f"{format_amount(tokens)} in the wallet"))
    elif patient.settings.provider.enabled:
        found.append(ok("tokens", "none in the wallet; a node that sells needs none"))
    else:
        found.append(warning("tokens", "none in the wallet", f"send tokens to {address} before you buy"))
    spenders = (("PaymentChannel", deployment.payment_channel), ("Escrow", deployment.escrow))
    may = {name: await token.allowance(wallet, spender) for name, spender in spenders}
    short = [name for name, amount in may.items() if 0 < amount < tokens]
    given = [name for name, amount in may.items() if amount]
    if short:
        advice = "nothing to do: the next payment approves anew, for the fee of one more transaction"
        found.append(warning("allowance", f"{', '.join(short)} may take less than the wallet has", advice))
    else:
        text = f"{', '.join(given)} may take deposits" if given else "not given yet; the first payment gives it"
        found.append(ok("allowance", text))
    return found


async def _wallet_of(patient: Patient) -> Address | None:
    """Return the wallet's address without its password; None if its file can't be read, which is said elsewhere."""
    if patient.running is not None:
        return patient.running.status.wallet

    def read() -> Address | None:
        try:
            named = key_files.read(patient.settings.keystore, must_be_private=False).address
        except ConfigError:
            return None
        return parse_address(f"0x{named.lower().removeprefix('0x')}") if named else None

    return await trio.to_thread.run_sync(read)
