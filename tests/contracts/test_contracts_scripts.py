"""The Ape scripts: what `ape run deploy`, `inspect-channel` and `inspect-escrow` do, on the tests' chain."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from contracts_desk import CHALLENGE, DOLLAR, HOLD_PERIOD, Desk

from node.chain.deployment import Deployment, load_deployment
from node.chain.local import POOL
from protocol.channel.objects import channel_id
from protocol.identity import format_address

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NOBODY = "0x" + "00" * 20


def script(name: str, **arguments: Any) -> None:
    """Run a script's command in this process, on the connected chain."""
    runpy.run_path(str(SCRIPTS / f"{name}.py"))["cli"].callback(**arguments)


@pytest.fixture
def deployed(tmp_path: Path, desk: Desk, project: Any) -> tuple[Path, Desk]:
    """A deployment made by the script, and a desk on its contracts."""
    path = tmp_path / "deployments" / "local.json"
    terms = {"guardian": NOBODY, "arbiter": NOBODY, "challenge": CHALLENGE, "hold_period": HOLD_PERIOD}
    terms |= {"cooldown": None, "pool": None, "max_bounty": 3 * DOLLAR}
    script("deploy", account=None, token=None, out=path, min_pace=None, **terms)
    made = load_deployment(path)
    token, escrow, channels = at(project, made)
    for spender in (escrow, channels):
        token.approve(spender, 2**256 - 1, sender=desk.requester.account)
    token.mint(desk.requester.account, 1_000 * DOLLAR, sender=desk.requester.account)
    return path, replace(desk, token=token, escrow=escrow, channels=channels)


def at(project: Any, made: Deployment) -> tuple[Any, Any, Any]:
    return (
        project.TestToken.at(format_address(made.token)),
        project.Escrow.at(format_address(made.escrow)),
        project.PaymentChannel.at(format_address(made.payment_channel)),
    )


def test_deploy_writes_a_file_that_the_node_can_load(deployed: tuple[Path, Desk]) -> None:
    path, desk = deployed
    made = load_deployment(path)
    assert made.chain_id == 31337
    assert desk.channels.escrow() == format_address(made.escrow)
    assert (desk.channels.challenge(), desk.channels.holdPeriod(), desk.escrow.minPace()) == (
        CHALLENGE,
        HOLD_PERIOD,
        2,
    )
    assert desk.chain.provider.get_code(desk.escrow.address)


def test_deploy_ties_the_stakes_to_the_escrow_and_the_token(deployed: tuple[Path, Desk], project: Any) -> None:
    made = load_deployment(deployed[0])
    stakes = project.Reputation.at(format_address(made.reputation))
    assert (stakes.escrow(), stakes.token()) == (format_address(made.escrow), format_address(made.token))
    assert (stakes.cooldown(), stakes.maxBounty()) == (5, 3 * DOLLAR)
    assert stakes.pool() == format_address(POOL)


def test_deploy_refuses_periods_below_the_networks_minimum(desk: Desk, tmp_path: Path) -> None:
    del desk
    with pytest.raises(click.UsageError, match="--challenge is 1 s; this network needs at least 2 s"):
        script(
            "deploy",
            account=None,
            token=None,
            out=tmp_path / "local.json",
            guardian=NOBODY,
            arbiter=NOBODY,
            challenge=1,
            hold_period=None,
            min_pace=None,
        )
    assert not (tmp_path / "local.json").exists()


def test_inspect_channel_tells_what_it_holds_and_its_history(
    deployed: tuple[Path, Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    path, desk = deployed
    key = desk.open(10 * DOLLAR)
    desk.claim(key, desk.voucher(key, 4 * DOLLAR))
    exits_at = desk.start_exit(key)
    capsys.readouterr()

    script("inspect-channel", channel_id=channel_id(key).hex(), deployment=path)

    text = capsys.readouterr().out
    for line in ("deposit   $10.00", "claimed   $4.00", "left      $6.00", f"from second {exits_at + 1}"):
        assert line in text
    assert [word for word in ("ChannelOpened", "Claimed", "ExitStarted") if word in text.split("history")[1]] == [
        "ChannelOpened",
        "Claimed",
        "ExitStarted",
    ]


def test_inspect_escrow_tells_the_state_in_words(
    deployed: tuple[Path, Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    path, desk = deployed
    award = desk.funded()
    desk.claim_escrow(award, 0, 6 * DOLLAR)
    capsys.readouterr()

    script("inspect-escrow", award_digest="0x" + desk.award_id(award).hex(), deployment=path)

    text = capsys.readouterr().out
    assert "locked    $26.00" in text
    assert "claimed by the provider; it may be disputed until second" in text
    assert "due=6000000" in text


def test_inspecting_says_what_is_wrong(deployed: tuple[Path, Desk], tmp_path: Path) -> None:
    path, _ = deployed
    with pytest.raises(click.ClickException, match="no such channel was ever opened here"):
        script("inspect-channel", channel_id="11" * 32, deployment=path)
    with pytest.raises(click.ClickException, match="never funded here"):
        script("inspect-escrow", award_digest="11" * 32, deployment=path)
    with pytest.raises(click.ClickException, match="this has 2 bytes"):
        script("inspect-escrow", award_digest="0xabcd", deployment=path)
    with pytest.raises(click.ClickException, match="Deploy first"):
        script("inspect-escrow", award_digest="11" * 32, deployment=tmp_path / "none.json")
