"""What a person is told when a contract says no: advice beside the contract's own words."""

import pytest
from eth_abi.abi import encode

from node.chain.abi import load_artifact
from node.chain.reasons import ADVISED, advice_of

CONTRACTS = ("Escrow", "PaymentChannel", "Reputation", "DisputeArbiter", "Bench", "TestToken")
SOMEBODY = "0x" + "11" * 20
SECOND = 1_795_274_572
"""2026-11-21 15:22:52 UTC."""


@pytest.mark.parametrize(
    ("contract", "error", "values", "advice"),
    [
        ("Reputation", "NotReady", (SOMEBODY, SECOND), "its cooldown lasts until 2026-11-21 15:22:52 UTC"),
        ("Reputation", "NotReady", (SOMEBODY, 0), "nothing has been asked back; do that first: stoa stake withdraw"),
        ("Reputation", "AlreadyLeaving", (SOMEBODY, SECOND), "then: stoa stake collect"),
        ("Bench", "AlreadyLeaving", (SOMEBODY, SECOND), "then: stoa arbiter collect"),
        ("Reputation", "StakeTooSmall", (SOMEBODY, 17_000_000, 10**9), "$1,000.00 is needed, $17.00 is neither locked"),
        ("TestToken", "ERC20InsufficientBalance", (SOMEBODY, 0, 5_000_000), "$5.00 is needed, the wallet has $0.00"),
        ("Bench", "NothingToCollect", (SOMEBODY,), "stoa arbiter status"),
        ("Reputation", "NothingToSlash", (SOMEBODY,), "no stake that isn't locked"),
        ("Escrow", "NewBusinessPaused", (), "the network's guardian has paused new business"),
        ("PaymentChannel", "ZeroAmount", (), "give an amount above zero"),
        ("PaymentChannel", "ZeroAddress", (), "nobody's"),
        ("Reputation", "NotReady", (SOMEBODY, 2**64 - 1), f"until second {2**64 - 1}"),
        ("Escrow", "WrongAward", (bytes(32), bytes(32)), ""),
    ],
)
def test_a_refusal_says_what_follows_from_it(
    contract: str, error: str, values: tuple[object, ...], advice: str
) -> None:
    abi = load_artifact(contract).abi
    item = next(each for each in abi.errors.values() if each.name == error)
    data = item.hash[:4] + encode([kind for _, kind in item.inputs], values)
    # Asked of the stakes, a token's refusal comes through: decoded all the same.
    for asked in {contract, "Reputation"}:
        refusal = load_artifact(asked).abi.decode_error(data)
        assert refusal.error == error
        assert advice in refusal.advice
        assert bool(refusal.advice) == bool(advice)


def test_every_error_that_has_advice_is_one_of_a_contract_and_has_the_arguments_that_the_advice_names() -> None:
    known = {item.name: item for name in CONTRACTS for item in load_artifact(name).abi.errors.values()}
    for error in ADVISED:
        arguments = {name: 1 for name, _ in known[error].inputs}
        assert advice_of(error, arguments), error


@pytest.mark.parametrize("arguments", [{}, {"readyAt": "soon"}, {"readyAt": b"\x01"}, {"owner": 1}])
def test_an_error_of_a_foreign_contract_with_a_known_name_is_no_trouble(arguments: dict[str, object]) -> None:
    assert advice_of("NotReady", arguments) == ""
    assert advice_of("AlreadyLeaving", arguments) == ""
