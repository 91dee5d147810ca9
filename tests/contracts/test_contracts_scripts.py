"""The Ape scripts on the tests' chain: deploy, fund, inspect, guardian."""

import datetime as dt
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from contracts_desk import CHALLENGE, DOLLAR, HOLD_PERIOD, RESOLVE_WITHIN, Desk, reverts, words
from test_contracts_court import ENGINE, offer_of, vote_of

from node.chain.deployment import Deployment, load_deployment
from node.chain.header import encode_header
from protocol.channel.objects import channel_id
from protocol.dispute.ballot import seal_of, vote_hash
from protocol.dispute.objects import Finding
from protocol.dispute.schedule import schedule_of
from protocol.identity import Digest, format_address, parse_address
from protocol.signing.eip712 import digest
from protocol.units import Amount
from scripts._create2 import DEFAULT_SALT, FACTORY, create2_address
from scripts._ground import ape_ground
from scripts._plan import creation_code, verify

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def script(name: str, *arguments: str) -> None:
    """Run a script's command in this process, on the connected chain, with its options read as from a command line."""
    command: click.Command = runpy.run_path(str(SCRIPTS / f"{name}.py"))["cli"]
    rest = list(arguments)
    if isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    values = command.make_context(name, rest).params
    apes = {"network", "provider_settings", "verbosity"}
    assert command.callback is not None
    command.callback(**{key: value for key, value in values.items() if key not in apes})


@pytest.fixture
def deployed(tmp_path: Path, desk: Desk, project: Any) -> tuple[Path, Desk]:
    """A deployment made by the script, and a desk on its contracts."""
    path = tmp_path / "deployments" / "local.json"
    terms = ["--challenge", str(CHALLENGE), "--hold-period", str(HOLD_PERIOD)]
    script("deploy", "--out", str(path), "--guardian", desk.guardian.account.address, *terms)
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


def test_deploying_again_finds_what_stands_and_writes_the_same_file(
    deployed: tuple[Path, Desk], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, desk = deployed
    terms = ["--challenge", str(CHALLENGE), "--hold-period", str(HOLD_PERIOD)]
    again, other = tmp_path / "again.json", tmp_path / "other.json"
    head = desk.chain.blocks.head.number
    capsys.readouterr()

    script("deploy", "--out", str(again), "--guardian", desk.guardian.account.address, *terms)

    assert desk.chain.blocks.head.number == head
    assert again.read_text() == path.read_text()
    assert capsys.readouterr().out.count("stands already") == 6
    salt = "11" * 32
    script("deploy", "--out", str(other), "--guardian", desk.guardian.account.address, "--salt", salt, *terms)
    assert load_deployment(other).escrow != load_deployment(path).escrow


def test_an_address_follows_from_code_arguments_and_salt(deployed: tuple[Path, Desk]) -> None:
    path, desk = deployed
    made = load_deployment(path)
    place = parse_address(desk.escrow.guardian())
    assert create2_address(DEFAULT_SALT, creation_code("Escrow", (2, place))) == made.escrow
    assert create2_address(DEFAULT_SALT, creation_code("Escrow", (3, place))) != made.escrow


def test_a_contract_with_other_arguments_or_other_code_is_refused(deployed: tuple[Path, Desk]) -> None:
    path, desk = deployed
    made = load_deployment(path)
    ground = ape_ground(desk.guardian.account)
    place = parse_address(desk.escrow.guardian())
    verify(ground, "Escrow", made.escrow, (("minPace", 2), ("guardian", place)))
    with pytest.raises(click.ClickException, match="has minPace 2, not 3"):
        verify(ground, "Escrow", made.escrow, (("minPace", 3), ("guardian", place)))
    with pytest.raises(click.ClickException, match="other code than this release's"):
        verify(ground, "PaymentChannel", made.escrow, ())
    with pytest.raises(click.ClickException, match="created nothing"):
        verify(ground, "Escrow", desk.stranger.raw, ())


def test_what_stands_in_the_factorys_place_is_looked_at(desk: Desk, tmp_path: Path) -> None:
    code = desk.chain.provider.web3.eth.get_code(format_address(FACTORY))
    desk.chain.provider.web3.provider.make_request("anvil_setCode", [format_address(FACTORY), "0x6001"])
    try:
        with pytest.raises(click.ClickException, match="is not the CREATE2 factory"):
            script("deploy", "--out", str(tmp_path / "local.json"))
    finally:
        desk.chain.provider.web3.provider.make_request("anvil_setCode", [format_address(FACTORY), "0x" + code.hex()])


def test_deploy_refuses_periods_below_the_networks_minimum(desk: Desk, tmp_path: Path) -> None:
    del desk
    with pytest.raises(click.UsageError, match="--challenge is 1 s; this network needs at least 2 s"):
        script("deploy", "--out", str(tmp_path / "local.json"), "--challenge", "1")
    with pytest.raises(click.UsageError, match="--salt has 1 bytes, not 32"):
        script("deploy", "--out", str(tmp_path / "local.json"), "--salt", "0x11")
    with pytest.raises(click.ClickException, match="--guardian"):
        script("deploy", "--out", str(tmp_path / "local.json"), "--guardian", "me")
    assert not (tmp_path / "local.json").exists()


def test_deploy_looks_first_whether_it_can_write_its_file(desk: Desk, tmp_path: Path) -> None:
    before = desk.chain.blocks.head.number
    (tmp_path / "file").write_text("mine")
    for path, what in ((tmp_path, "is a folder"), (tmp_path / "file" / "local.json", "can't be written")):
        with pytest.raises(click.ClickException, match=what):
            script("deploy", "--out", str(path), "--salt", "33" * 32)
    assert desk.chain.blocks.head.number == before


def test_inspect_channel_tells_what_it_holds_and_its_history(
    deployed: tuple[Path, Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    path, desk = deployed
    key = desk.open(10 * DOLLAR)
    desk.claim(key, desk.voucher(key, 4 * DOLLAR))
    exits_at = desk.start_exit(key)
    capsys.readouterr()

    script("inspect-channel", channel_id(key).hex(), "--deployment", str(path))

    text = capsys.readouterr().out
    for line in ("deposit   $10.00", "claimed   $4.00", "left      $6.00", f"(second {exits_at + 1})"):
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

    script("inspect-escrow", "0x" + desk.award_id(award).hex(), "--deployment", str(path))

    text = capsys.readouterr().out
    assert "locked    $26.00" in text
    assert "claimed by the provider; it may be disputed until" in text
    assert "due=6000000" in text


def test_inspect_award_and_stake_tell_what_answers_for_an_award(
    deployed: tuple[Path, Desk], project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path, desk = deployed
    reputation = project.Reputation.at(format_address(load_deployment(path).reputation))
    provider, requester = desk.provider.account, desk.requester.account
    desk.token.approve(reputation, 2**256 - 1, sender=requester)
    reputation.stake(provider, 50 * DOLLAR, sender=requester)
    award = desk.award(liability=Amount(20 * DOLLAR))
    digest, nothing = desk.award_id(award), (bytes(32), 0)
    reputation.lock(words(award), nothing, b"", sender=provider)
    reputation.depositBonus(words(award), sender=requester)
    reputation.unstake(7 * DOLLAR, sender=provider)
    desk.fund(award)
    capsys.readouterr()

    script("inspect-award", digest.hex(), "--deployment", str(path))
    told = capsys.readouterr().out
    until = award.deliver_by + 2 * award.pace + award.resolve_within
    for line in ("locked    $26.00", "liability $20.00, locked", "bonus     $1.25 waits", "state     funded"):
        assert line in told
    assert utc(until) in told
    events = [line.split()[2] for line in told.split("history")[1].strip().splitlines()]
    assert events == ["LiabilityLocked", "BonusDeposited", "Funded"]

    script("inspect-stake", provider.address, "--deployment", str(path))
    told = capsys.readouterr().out
    for line in ("stake     $50.00", "free      $23.00", "locked    $20.00", "leaving   $7.00, to be taken from"):
        assert line in told
    assert f"for award 0x{digest.hex()}  $20.00 until {utc(until)}" in told

    desk.release(award, 3, 25 * DOLLAR)
    reputation.free(words(award), sender=desk.stranger.account)
    script("inspect-award", digest.hex(), "--deployment", str(path))
    told = capsys.readouterr().out
    assert "free again" in told
    assert "bonus     paid" in told
    script("inspect-stake", provider.address, "--deployment", str(path))
    assert "for award" not in capsys.readouterr().out.split("history")[0]


def test_inspect_case_tells_rounds_seats_votes_deadlines_and_money(
    deployed: tuple[Path, Desk], project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path, desk = deployed
    made, arbiter = load_deployment(path), desk.stranger.account
    court, bench = (project.DisputeArbiter.at(format_address(made.court)), project.Bench.at(format_address(made.bench)))
    assert made.arbiter == made.court
    assert (court.bench(), bench.court(), bench.seatStake()) == (bench.address, court.address, 100 * DOLLAR)
    there = ("--deployment", str(path))
    for party, spender in ((desk.stranger, bench), (desk.requester, court)):
        desk.token.mint(party.account, 1_000 * DOLLAR, sender=party.account)
        desk.token.approve(spender, 2**256 - 1, sender=party.account)
    bench.enlist(ENGINE, 5, [], sender=arbiter)
    offer = offer_of(desk)
    award = desk.award(offer=digest(desk.market, offer), arbiter=made.court, dispute_fee=Amount(20 * DOLLAR))
    award_id = desk.award_id(award)
    with pytest.raises(click.ClickException, match="no case about this award"):
        script("inspect-case", award_id.hex(), *there)
    desk.fund(award)
    desk.claim_escrow(award, 3, 25 * DOLLAR)
    court.open(words(award), words(offer), sender=desk.requester.account)
    capsys.readouterr()

    def told() -> str:
        script("inspect-case", award_id.hex(), *there)
        return capsys.readouterr().out

    text = told()
    assert "part 3, receipt 0x" in text
    assert "bonds of $20.00 and $0.00 of arbiters' stake are behind it" in text
    assert f"round 1   5 seats, asked for by {desk.requester.account.address} with $20.00" in text
    assert "no committee yet" in text
    case = court.caseOf(award_id)
    times = schedule_of(0, case.began, case.time)
    assert utc(times.draw_by) in text

    desk.chain.mine(3)
    answer = desk.chain.provider.web3.provider.make_request("eth_getBlockByNumber", [hex(case.drawBlock), False])
    court.draw(award_id, encode_header(answer["result"]), sender=arbiter)
    committee = [arbiter.address] * 5
    vote, secret = vote_of(Finding.UPHELD, 25 * DOLLAR), Digest(bytes(32))
    for seat in range(5):
        seal = seal_of(vote_hash(vote), desk.stranger.raw, secret)
        court.sealVote(award_id, committee, seat, seal, sender=arbiter)
    text = told()
    for line in (f"{arbiter.address} has 5 of 5 seats", "5 sealed a vote on the chain, 0 opened one", "$500.00"):
        assert line in text
    assert utc(times.seal_by) in text
    for seat in range(5):
        court.openVote(award_id, committee, seat, words(vote), secret, sender=arbiter)
    assert "decided by 3 votes opened: the receipt is right; due $25.00" in told()
    case = court.caseOf(award_id)
    desk.wait_until(case.began + case.endedAfter + RESOLVE_WITHIN // 12 + 1)
    court.close(words(award), [committee], [words(vote)], sender=arbiter)
    text = told()
    assert "closed    the receipt is right" in text
    assert text.split("history")[1].split().count("VoteOpened") == 5
    assert {word for word in text.split() if word.startswith("round=")} == {"round=1"}, "people count from one"
    assert f"vote=(finding={int(Finding.UPHELD)}, part=3, outcome=0, output=0x" in text
    script("inspect-award", award_id.hex(), *there)
    assert "closed    the receipt is right" in capsys.readouterr().out


def utc(second: int) -> str:
    return dt.datetime.fromtimestamp(second, tz=dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def test_a_channel_is_topped_up_by_anybody_and_an_account_gets_test_money(
    deployed: tuple[Path, Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    path, desk = deployed
    key = desk.open(10 * DOLLAR)
    stranger, identity = desk.stranger.account, channel_id(key).hex()
    before = desk.token.balanceOf(stranger)
    script("fund", "account", stranger.address, "--dollars", "30.50", "--deployment", str(path))
    assert desk.token.balanceOf(stranger) == before + 30 * DOLLAR + DOLLAR // 2
    capsys.readouterr()

    script("fund", "channel", identity, "25", "--account", "TEST::4", "--deployment", str(path))

    assert "The deposit is $35.00 now" in capsys.readouterr().out
    assert desk.token.balanceOf(stranger) == before + 5 * DOLLAR + DOLLAR // 2
    assert desk.token.allowance(stranger, desk.channels) == 0
    with pytest.raises(click.ClickException, match=r"not \$1,000,000.00"):
        script("fund", "channel", identity, "1000000", "--account", "TEST::4", "--deployment", str(path))
    with pytest.raises(click.ClickException, match="was ever opened here"):
        script("fund", "channel", "11" * 32, "1", "--deployment", str(path))
    with pytest.raises(click.ClickException, match="is nothing"):
        script("fund", "account", stranger.address, "--dollars", "0", "--deployment", str(path))


def test_the_guardian_pauses_resumes_and_hands_its_place_on(
    deployed: tuple[Path, Desk], capsys: pytest.CaptureFixture[str]
) -> None:
    path, desk = deployed
    at_path, holder, heir = ("--deployment", str(path)), ("--account", "TEST::3"), ("--account", "TEST::4")
    with pytest.raises(click.ClickException, match="held by"):
        script("guardian", "pause", *at_path)
    for nobody in ("TEST::99", "TEST::-1", "TEST::x", "TEST::"):
        with pytest.raises(click.ClickException, match="is no test account; there are TEST::0 to TEST::9"):
            script("guardian", "pause", "--account", nobody, *at_path)
    script("guardian", "pause", *holder, *at_path)
    assert desk.escrow.paused()
    assert desk.channels.paused()
    with reverts(desk.channels.NewBusinessPaused):
        desk.open(DOLLAR)
    script("guardian", "resume", *holder, *at_path)
    key = desk.open(DOLLAR)
    assert desk.channels.stateOf(channel_id(key)).deposit == DOLLAR

    with pytest.raises(click.ClickException, match="not offered to"):
        script("guardian", "accept", *heir, *at_path)
    script("guardian", "offer", desk.stranger.account.address, *holder, *at_path)
    capsys.readouterr()
    script("guardian", "show", *at_path)
    told = capsys.readouterr().out
    assert f"held by         {desk.guardian.account.address}" in told
    assert f"offered to      {desk.stranger.account.address}" in told
    script("guardian", "accept", *heir, *at_path)
    with pytest.raises(click.ClickException, match="held by"):
        script("guardian", "pause", *holder, *at_path)
    script("guardian", "pause", *heir, *at_path)
    capsys.readouterr()
    script("guardian", "show", *at_path)
    assert capsys.readouterr().out.count("PAUSED") == 5


def test_without_a_guardian_nothing_can_be_paused(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.json"
    script("deploy", "--out", str(path))
    del desk
    with pytest.raises(click.ClickException, match="the guardian is nobody"):
        script("guardian", "pause", "--deployment", str(path))
    capsys.readouterr()
    script("guardian", "show", "--deployment", str(path))
    assert "guardian nobody" in capsys.readouterr().out


def test_inspecting_says_what_is_wrong(deployed: tuple[Path, Desk], tmp_path: Path) -> None:
    path, _ = deployed
    there = ("--deployment", str(path))
    with pytest.raises(click.ClickException, match="no such channel was ever opened here"):
        script("inspect-channel", "11" * 32, *there)
    with pytest.raises(click.ClickException, match="never funded here"):
        script("inspect-escrow", "11" * 32, *there)
    with pytest.raises(click.ClickException, match="no contract knows this award"):
        script("inspect-award", "11" * 32, *there)
    with pytest.raises(click.ClickException, match="never had a stake here"):
        script("inspect-stake", "0x" + "11" * 20, *there)
    with pytest.raises(click.ClickException, match="this has 2 bytes"):
        script("inspect-escrow", "0xabcd", *there)
    with pytest.raises(click.ClickException, match="Deploy first"):
        script("inspect-escrow", "11" * 32, "--deployment", str(tmp_path / "none.json"))
