"""Deploy Stoa's contracts and write deployments/<network>.json, from which nodes and the other scripts find them.

APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run deploy      # a local chain that is running
ape run deploy --network ethereum:sepolia:node --account NAME --token 0x... --guardian 0x... --pool 0x...
"""

import tempfile
from pathlib import Path
from typing import Any, Final

import click
from ape.cli import ConnectedProviderCommand

from node.chain.bench import Randomness
from node.chain.deployment import Deployment, load_deployment, save_deployment
from node.chain.profile import ChainProfile
from protocol.dispute.schedule import SEATS
from protocol.identity import ZERO_ADDRESS, Address, format_address
from protocol.signing.keccak import keccak256
from protocol.units import ONE_TOKEN
from scripts._blocks import is_of_this_command
from scripts._create2 import DEFAULT_SALT
from scripts._deployed import NOBODY, connected_profile, deployment_path
from scripts._ground import Ground, ape, ape_ground, load_account
from scripts._plan import CourtTerms, Placed, Terms, carry_out, deployment_of, first_block
from scripts._rehearsal import open_rehearsal
from scripts._words import gwei, money, native, read_account, span

_MONEY: Final = ("maxBounty", "seatStake", "leastFee")
FEES_A_SEAT: Final = 4
"""What a wrong seat loses at least, in fees: `DisputeArbiter.FEES_A_SEAT`."""
LOCAL_POOL = Address(keccak256(b"stoa local pool")[12:])


@click.command(cls=ConnectedProviderCommand)
@click.option("--account", help="Ape account that pays; on a local chain the first test account, or TEST::N.")
@click.option("--token", help="Address of the stablecoin; on a local chain a test token is deployed.")
@click.option("--guardian", default=NOBODY, help="Who may pause new business (never exits), and hand that on; nobody.")
@click.option("--court/--no-court", default=True, help="Committees of staked arbiters that decide disputes.")
@click.option("--arbiter", help="Arbiter that requesters name by default; the court by default, 0x00...00 for none.")
@click.option("--pool", help="Who gets slashed money beyond fees and bounties, and no other right. Local: nobody.")
@click.option("--challenge", type=int, help="Seconds from the start of a payer's exit to its first withdrawal.")
@click.option("--hold-period", type=int, help="Seconds after that for which presented holds stay reserved.")
@click.option("--min-pace", type=int, help="Least pace of an award in escrow, seconds.")
@click.option("--cooldown", type=int, help="Seconds from asking for stake to taking it.")
@click.option("--max-bounty", default=5 * ONE_TOKEN, help="Most that an accuser gets, base units.", show_default=True)
@click.option("--seat-stake", default=100 * ONE_TOKEN, help="Stake of an arbiter's ticket.", show_default=True)
@click.option("--least-fee", default=10 * ONE_TOKEN, help="Least dispute fee of an award.", show_default=True)
@click.option("--min-resolve-within", type=int, help="Least time to judge an award before the court, seconds.")
@click.option("--max-time", default=7 * 86_400, help="Most that a case takes, seconds.", show_default=True)
@click.option("--salt", help="32 bytes, hexadecimal: another salt deploys a second set. Equal terms, equal addresses.")
@click.option("--since", type=int, help="A block before contracts that stand already, if the chain's node can't tell.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write; deployments/<network>.json by default.")
@click.option("--confirm", metavar="NETWORK", help="Answer the question after the rehearsal, for programs.")
def cli(
    account: str | None, arbiter: str | None, since: int | None, out: Path | None, confirm: str | None, **given: Any
) -> None:
    """Deploy the contracts at addresses that follow from their code and terms, and write the deployments file.

    A second run with the same terms finds the contracts, checks them and writes the same file: run it again after a
    failure. On a real network the whole deployment is rehearsed first on a copy of the chain on this machine; you see
    addresses, gas and cost, and are asked before anything is sent. What can't be changed later: everything but who
    holds the guardian's place.

    \b
    Examples:
      APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run deploy --network ethereum:local:foundry
      ape run deploy --network ethereum:sepolia:node --account deployer \\
          --token 0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238 --guardian 0x... --pool 0x...
    """  # noqa: D301 - click's mark for text that keeps its lines
    profile = connected_profile()
    terms = _terms(profile, given)
    path = out or deployment_path(profile)
    sender = load_account(profile, account)
    ground = ape_ground(sender)
    named = None if arbiter is None else read_account(arbiter, "--arbiter")
    _make_room(path)
    rehearsed: tuple[Placed, ...] | None = None
    if not profile.is_local:
        rehearsed = _rehearse(profile, ground, terms)
        _refuse_to_overwrite(path, deployment_of(rehearsed, terms, chain_id=profile.chain_id, arbiter=named, block=0))
        _ask(profile, confirm)
    placed = carry_out(ground, terms)
    if rehearsed is not None and [each.address for each in placed] != [each.address for each in rehearsed]:
        raise click.ClickException("the contracts stand elsewhere than in the rehearsal; nothing was written")
    block = first_block(ground, placed) if since is None else since
    save_deployment(path, deployment_of(placed, terms, chain_id=profile.chain_id, arbiter=named, block=block))
    _tell(placed)
    click.echo(f"\nwritten to {path}")
    if is_of_this_command(ape.networks.provider):
        click.echo(
            "That chain was Ape's own and ends with this command; to deploy to yours, name it in APE_FOUNDRY_HOST."
        )
    else:
        click.echo("Next: name it in the node's configuration (chain.deployments), then: stoa run")


def _make_room(path: Path) -> None:
    """See that the deployments file can be written, before anything is paid for.

    Raises:
        ClickException: It can't.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}; name another file: --out") from error
    if path.is_dir():
        raise click.ClickException(f"{path} is a folder; name a file in it: --out {path / 'local.json'}")


def _terms(profile: ChainProfile, given: dict[str, Any]) -> Terms:
    token, pool, salt = given["token"], given["pool"], given["salt"]
    if not profile.is_local and token is None:
        raise click.UsageError(f"name the stablecoin on {profile.name}: --token")
    if not profile.is_local and pool is None:
        raise click.UsageError(f"name who gets slashed money on {profile.name}: --pool")
    return Terms(
        token=None if token is None else read_account(token, "--token"),
        guardian=read_account(given["guardian"], "--guardian"),
        pool=LOCAL_POOL if pool is None else read_account(pool, "--pool"),
        challenge=_at_least(profile.min_challenge, given["challenge"], "--challenge"),
        hold_period=_at_least(profile.min_hold_period, given["hold_period"], "--hold-period"),
        min_pace=_at_least(profile.min_pace, given["min_pace"], "--min-pace"),
        cooldown=_at_least(profile.min_cooldown, given["cooldown"], "--cooldown"),
        max_bounty=given["max_bounty"],
        court=_court_terms(profile, given) if given["court"] else None,
        salt=DEFAULT_SALT if salt is None else _salt(salt),
    )


def _court_terms(profile: ChainProfile, given: dict[str, Any]) -> CourtTerms:
    seat_stake, least_fee = given["seat_stake"], given["least_fee"]
    greatest = seat_stake * SEATS[0] // FEES_A_SEAT
    if not 0 < least_fee <= greatest:
        raise click.UsageError(
            f"--least-fee is {least_fee}; with this --seat-stake a court takes fees up to five quarters, {greatest}"
        )
    return CourtTerms(
        seat_stake=seat_stake,
        least_fee=least_fee,
        min_resolve_within=_at_least(profile.min_case, given["min_resolve_within"], "--min-resolve-within"),
        max_time=_at_least(profile.min_case, given["max_time"], "--max-time"),
        randomness=Randomness.PREV_RANDAO if profile.has_beacon else Randomness.BLOCK_HASH,
    )


def _at_least(least: int, wanted: int | None, option: str) -> int:
    """Return `wanted`, or the network's minimum: a shorter period would risk the users' money on a late block."""
    if wanted is not None and wanted < least:
        raise click.UsageError(f"{option} is {wanted} s; this network needs at least {least} s")
    return least if wanted is None else wanted


def _salt(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise click.UsageError(f"--salt: {text!r} is no hexadecimal number") from error
    if len(value) != 32:
        raise click.UsageError(f"--salt has {len(value)} bytes, not 32")
    return value


def _rehearse(profile: ChainProfile, ground: Ground, terms: Terms) -> tuple[Placed, ...]:
    """Carry the deployment out on a copy of the chain, and show what it would come to."""
    assert terms.token is not None, "a real network's token is named"
    if not ground.code(terms.token):
        raise click.ClickException(f"there is no contract at --token {format_address(terms.token)} on {profile.name}")
    click.echo(f"Rehearsal on a copy of {profile.name} (chain {profile.chain_id}) on this machine:")
    uri: str = ape.networks.provider.http_uri
    with open_rehearsal(profile.chain_id, ground.sender, fork=uri) as copy:
        placed = carry_out(copy, terms)
    _tell(placed)
    gas, price, balance = sum(each.gas for each in placed), ground.gas_price(), ground.balance(ground.sender)
    click.echo(f"\n{gas:,} gas in all; at {gwei(price)} gwei, as the network asks now, {native(gas * price)}")
    click.echo(f"{format_address(ground.sender)} pays and has {native(balance)}")
    if balance < gas * price:
        raise click.ClickException(
            f"it lacks {native(gas * price - balance)}; the base fee moves, so give it twice that"
        )
    if terms.guardian == ZERO_ADDRESS:
        click.echo("Nobody will be able to pause new business: no --guardian.")
    return placed


def _refuse_to_overwrite(path: Path, planned: Deployment) -> None:
    """Addresses of money that somebody has in contracts must not vanish from a disk by a second deployment."""
    if path.exists():
        there = load_deployment(path)
        same = (there.escrow, there.payment_channel) == (planned.escrow, planned.payment_channel)
        if not same or (there.has_court and there.court != planned.court):
            raise click.ClickException(f"{path} names other contracts; move it away, or write elsewhere with --out")


def _ask(profile: ChainProfile, confirm: str | None) -> None:
    answer = confirm or click.prompt(
        f"\nNothing was sent yet. To deploy on {profile.name}, type its name", default="no"
    )
    if answer != profile.name:
        raise click.ClickException("not confirmed; nothing was sent")


def _tell(placed: tuple[Placed, ...]) -> None:
    for each in placed:
        made = f"made by {each.maker}" if each.maker else "stands already"
        done = f"{each.gas:>9,} gas" if each.gas else made
        click.echo(f"  {each.contract:<15} {format_address(each.address)}  {done}")
        for name, value in each.arguments:
            click.echo(f"      {name:<16} {_meaning(name, value)}")


def _meaning(name: str, value: Address | int) -> str:
    if isinstance(value, bytes):
        return "nobody" if value == ZERO_ADDRESS else format_address(value)
    if name == "randomness":
        return Randomness(value).name.lower().replace("_", " ")
    return money(value) if name in _MONEY else span(value)
