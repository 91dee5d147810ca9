"""What a deployment consists of, in the order in which contracts need one another; how it is carried out and checked.

To add a contract: name it in `export_abi.py`'s SOURCES and give it a line in `steps`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import click
from web3.exceptions import Web3Exception

from node.chain.abi import load_artifact
from node.chain.bench import Randomness
from node.chain.deployment import Deployment
from node.chain.errors import Reverted
from protocol.identity import ZERO_ADDRESS, Address, format_address
from scripts._create2 import FACTORY, create2_address
from scripts._ground import Ground, ensure_factory

ARTIFACTS: Final = Path(__file__).resolve().parents[1] / "node/chain/artifacts"


@dataclass(frozen=True, slots=True)
class Ref:
    """The address of an earlier step's contract; zero if the plan has no such step."""

    contract: str


Argument: TypeAlias = "Ref | Address | int | tuple[Argument, ...]"
Value: TypeAlias = "Address | int | tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Step:
    """One contract and its constructor arguments."""

    contract: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CourtTerms:
    """What can't be changed later of a court. Seconds and base units.

    Attributes:
        seat_stake: What a ticket costs, and a wrong seat loses.
        least_fee: Least dispute fee of an award.
        min_resolve_within: Least time to judge an award.
        max_time: Most that a case takes.
        randomness: Where a draw takes its number from.
    """

    seat_stake: int
    least_fee: int
    min_resolve_within: int
    max_time: int
    randomness: Randomness


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What can't be changed later. Seconds and base units.

    Attributes:
        token: The stablecoin; None deploys a test token.
        guardian: First holder of the guardian's place; zero for no guardian.
        pool: Who gets slashed money beyond fees and bounties.
        court: None deploys no court.
    """

    token: Address | None
    guardian: Address
    pool: Address
    challenge: int
    hold_period: int
    min_pace: int
    cooldown: int
    max_bounty: int
    court: CourtTerms | None
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A contract where it stands.

    Attributes:
        contract: Its name.
        address: Where.
        arguments: What its constructor was told, by name; members of structs by their own names.
        gas: What its deployment took now, 0 if it was there before.
        block: Of its deployment, 0 likewise.
        maker: The contract that has made it, in its own deployment; empty if the factory did.
    """

    contract: str
    address: Address
    arguments: tuple[tuple[str, Address | int], ...]
    gas: int
    block: int
    maker: str = ""


def steps(terms: Terms) -> Iterator[Step]:
    """Give the contracts of a deployment, each after those that it names."""
    token: Argument = Ref("TestToken") if terms.token is None else terms.token
    if terms.token is None:
        yield Step("TestToken", ())
    if terms.guardian != ZERO_ADDRESS:
        yield Step("Guardian", (terms.guardian,))
    guardian, escrow = Ref("Guardian"), Ref("Escrow")
    yield Step("Escrow", (terms.min_pace, guardian))
    yield Step("PaymentChannel", (escrow, terms.challenge, terms.hold_period, guardian))
    yield Step("Reputation", (escrow, token, terms.pool, terms.cooldown, terms.max_bounty, guardian))
    if terms.court is not None:
        known = (escrow, Ref("PaymentChannel"), Ref("Reputation"), token, terms.pool)
        court = terms.court
        constants = (
            *(court.seat_stake, court.least_fee, terms.cooldown, court.min_resolve_within, court.max_time),
            court.randomness,
        )
        yield Step("DisputeArbiter", (known, constants, guardian))


def carry_out(ground: Ground, terms: Terms) -> tuple[Placed, ...]:
    """Deploy what is missing, in order, and check each contract; a second run finds everything there.

    Raises:
        ClickException: A transaction failed, or what stands at an address is not what it should be.
    """
    factory_gas = ensure_factory(ground)
    placed: dict[str, Placed] = {}
    if factory_gas:
        placed[""] = Placed(contract="factory", address=FACTORY, arguments=(), gas=factory_gas, block=0)
    for step in steps(terms):
        values = tuple(_resolve(argument, placed) for argument in step.arguments)
        code = creation_code(step.contract, values)
        address = create2_address(terms.salt, code)
        gas, block = 0, 0
        if not ground.code(address):
            sent = ground.send(FACTORY, terms.salt + code, 0)
            gas, block = sent.gas, sent.block
        arguments = named_arguments(step.contract, values)
        verify(ground, step.contract, address, arguments)
        placed[step.contract] = Placed(
            contract=step.contract, address=address, arguments=arguments, gas=gas, block=block
        )
        if step.contract == "DisputeArbiter":
            placed["Bench"] = _bench_of(ground, placed[step.contract])
    return tuple(placed.values())


def verify(ground: Ground, contract: str, address: Address, arguments: Sequence[tuple[str, Address | int]]) -> None:
    """Check the code at an address, and every constructor argument that the contract tells.

    That the address is the factory's for exactly this code and these arguments proves them; this also asks the chain.

    Raises:
        ClickException: Nothing stands there, or something else does.
    """
    artifact, code = load_artifact(contract), ground.code(address)
    where = f"{contract} at {format_address(address)}"
    if not code:
        raise click.ClickException(f"{where}: no code; the transaction was included and created nothing")
    if artifact.masked_hash(code) != artifact.code_hash:
        raise click.ClickException(f"{where} has other code than this release's; don't use it with money")
    for name, value in arguments:
        if name not in artifact.abi.functions:
            continue
        try:
            actual = ground.view(contract, address, name)
        except (Reverted, Web3Exception) as error:
            raise click.ClickException(f"{where} does not tell its {name}: {error}") from error
        # A guardian's place is handed on: what its constructor was told is only its first holder.
        if actual != value and (contract, name) != ("Guardian", "holder"):
            raise click.ClickException(f"{where} has {name} {_show(actual)}, not {_show(value)}")


def _bench_of(ground: Ground, court: Placed) -> Placed:
    """Return the bench that a court has made in its constructor, checked like the others."""
    address = Address(cast("bytes", ground.view("DisputeArbiter", court.address, "bench")))
    told = dict(court.arguments)
    arguments = tuple((name, told[name]) for name in constructor_names("Bench"))
    verify(ground, "Bench", address, (("court", court.address), *arguments))
    return Placed(
        contract="Bench", address=address, arguments=arguments, gas=0, block=court.block, maker=court.contract
    )


def creation_code(contract: str, arguments: Sequence[Value]) -> bytes:
    """Return what creates a contract with these arguments."""
    artifact = load_artifact(contract)
    return artifact.bytecode + artifact.abi.encode_constructor(*arguments)


def constructor_names(contract: str) -> tuple[str, ...]:
    """Return the names of a constructor's arguments, structs taken apart: those of the views that tell them."""
    document: Any = json.loads((ARTIFACTS / f"{contract}.json").read_text())
    return tuple(
        str(member["name"]).rstrip("_")
        for entry in document["abi"]
        if entry["type"] == "constructor"
        for item in entry["inputs"]
        for member in item.get("components", (item,))
    )


def named_arguments(contract: str, values: Sequence[Value]) -> tuple[tuple[str, Address | int], ...]:
    """Return what a constructor is told by name, structs taken apart."""
    flat = [member for value in values for member in (value if isinstance(value, tuple) else (value,))]
    return tuple(zip(constructor_names(contract), cast("list[Address | int]", flat), strict=True))


def deployment_of(
    placed: Sequence[Placed], terms: Terms, *, chain_id: int, arbiter: Address | None, block: int
) -> Deployment:
    """Write a deployment as the node reads it; without an `arbiter` of its own, requesters name the court."""
    by_name = {each.contract: each.address for each in placed}
    court = by_name.get("DisputeArbiter", ZERO_ADDRESS)
    return Deployment(
        chain_id=chain_id,
        token=by_name["TestToken"] if terms.token is None else terms.token,
        escrow=by_name["Escrow"],
        payment_channel=by_name["PaymentChannel"],
        reputation=by_name["Reputation"],
        court=court,
        bench=by_name.get("Bench", ZERO_ADDRESS),
        arbiter=court if arbiter is None else arbiter,
        block=block,
    )


def first_block(ground: Ground, placed: Sequence[Placed]) -> int:
    """Return the block before which none of the contracts stood: by what was deployed now, else by bisection.

    Raises:
        ClickException: The chain's node doesn't keep states that old.
    """
    aside = ("factory", "TestToken", "Guardian", "Bench")
    contracts = [each for each in placed if each.contract not in aside]
    if all(each.block for each in contracts):
        return min(each.block for each in contracts)
    eldest = min((_born(ground, each.address) for each in contracts if not each.block), default=0)
    return min([eldest, *(each.block for each in contracts if each.block)])


def _born(ground: Ground, address: Address) -> int:
    low, high = 0, int(ground.web3.eth.block_number)
    try:
        while low < high:
            middle = (low + high) // 2
            if ground.code(address, middle):
                high = middle
            else:
                low = middle + 1
    except Web3Exception as error:
        raise click.ClickException(
            f"the chain's node doesn't know when {format_address(address)} was deployed ({error});"
            " tell a block before that with --since"
        ) from error
    return low


def _resolve(argument: Argument, placed: dict[str, Placed]) -> Value:
    if isinstance(argument, tuple):
        return tuple(_resolve(member, placed) for member in argument)
    if not isinstance(argument, Ref):
        return argument
    return placed[argument.contract].address if argument.contract in placed else ZERO_ADDRESS


def _show(value: object) -> str:
    return format_address(Address(value)) if isinstance(value, bytes) and len(value) == 20 else str(value)
