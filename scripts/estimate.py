"""What a deployment costs: the gas of each contract, at prices of gas.

ape run estimate --network ethereum:mainnet:node       # at what the network asks now
APE_FOUNDRY_HOST=http://127.0.0.1:8545 ape run estimate --gas-price 0.5 --gas-price 20
"""

import click
from ape.cli import ConnectedProviderCommand

from node.chain.bench import Randomness
from node.chain.profile import PROFILES
from protocol.identity import Address
from protocol.signing.keccak import keccak256
from protocol.units import ONE_TOKEN
from scripts._create2 import DEFAULT_SALT
from scripts._deployed import connected_profile
from scripts._ground import connected_web3
from scripts._plan import CourtTerms, Terms, carry_out
from scripts._rehearsal import open_rehearsal
from scripts._words import gwei, native, read_gwei

DEFAULT_PRICES = ("1", "10", "50")
SOMEBODY = Address(keccak256(b"somebody")[12:])
"""Stands for guardian, pool and deployer: an address costs as much gas as any other without zero bytes."""


@click.command(cls=ConnectedProviderCommand)
@click.option(
    "--gas-price", "prices", multiple=True, help="Gwei per gas; give it several times. 1, 10 and 50 by default."
)
@click.option("--profile", help="Terms of this network instead of the connected one's.")
@click.option("--with-token", is_flag=True, help="Count a test token, too, as on a local chain.")
def cli(prices: tuple[str, ...], profile: str | None, *, with_token: bool) -> None:
    """Show what a first deployment costs: gas by contract, times prices of gas, in the network's coin.

    It is measured, not guessed: everything is deployed on an empty chain on this machine, with a guardian and the
    network's terms. On a network that has the CREATE2 factory, as the great ones have, its line falls away.

    \b
    Examples:
      ape run estimate --network ethereum:mainnet:node
      ape run estimate --profile mainnet --gas-price 0.5 --gas-price 20
    """  # noqa: D301 - click's mark for text that keeps its lines
    connected = connected_profile()
    if profile is not None and profile not in PROFILES:
        raise click.UsageError(f"there is no profile {profile!r}: choose one of {', '.join(PROFILES)}")
    chosen = connected if profile is None else PROFILES[profile]
    asked = [read_gwei(text) for text in prices or DEFAULT_PRICES]
    if not connected.is_local:
        asked.insert(0, int(connected_web3().eth.gas_price))
        click.echo(f"{connected.name} asks {gwei(asked[0])} gwei now")
    terms = Terms(
        token=None if with_token else SOMEBODY,
        guardian=SOMEBODY,
        pool=SOMEBODY,
        challenge=chosen.min_challenge,
        hold_period=chosen.min_hold_period,
        min_pace=chosen.min_pace,
        cooldown=chosen.min_cooldown,
        max_bounty=5 * ONE_TOKEN,
        court=CourtTerms(
            seat_stake=100 * ONE_TOKEN,
            least_fee=10 * ONE_TOKEN,
            min_resolve_within=chosen.min_case,
            max_time=7 * 86_400,
            randomness=Randomness.PREV_RANDAO,
        ),
        salt=DEFAULT_SALT,
    )
    with open_rehearsal(chosen.chain_id, SOMEBODY, fork=None) as ground:
        placed = carry_out(ground, terms)
    heads = [f"{gwei(price)} gwei" for price in asked]
    click.echo(f"{'':<16}{'gas':>11}" + "".join(f"{head:>14}" for head in heads))
    rows = [(each.contract, each.gas) for each in placed if not each.maker]
    for name, gas in [*rows, ("all", sum(gas for _, gas in rows))]:
        click.echo(f"{name:<16}{gas:>11,}" + "".join(f"{native(gas * price):>14}" for price in asked))
