"""A task as it happens, on a terminal: a bar for each copy that runs."""

import pytest

from node.api.views import AuctionOpened, PartProgress, ProviderFailed
from node.cli.watch_view import WatchView
from protocol.identity import Address
from protocol.units import Amount, UnixTime

NOW = UnixTime(1_800_000_000)
ANN, BOB = Address(b"\xaa" * 20), Address(b"\xbb" * 20)
NAMES = {ANN: "Ann", BOB: "Bob"}


def opened(*, copies: int, parts: int = 1) -> AuctionOpened:
    return AuctionOpened(
        at=NOW,
        format="sealed",
        budget=Amount(1_000_000),
        parts=parts,
        max_eta_s=60,
        commit_by=NOW,
        reveal_by=NOW,
        copies=copies,
    )


def running(provider: Address, fuel: int, *, part: int = 0) -> PartProgress:
    return PartProgress(at=NOW, provider=provider, part=part, fuel=fuel, fuel_limit=4_000_000_000, bytes_out=0)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rich believe that somebody looks."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")


def last_picture(shown: str) -> list[str]:
    """Return the lines with a bar that rich drew last."""
    bars = [line for line in shown.replace("\r", "\n").split("\n") if "fuel" in line]
    return bars[-2:]


@pytest.mark.usefixtures("terminal")
def test_every_copy_has_a_bar_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with WatchView(json_output=False, names=NAMES) as view:
        view.show(opened(copies=2))
        view.show(running(ANN, 3_000_000_000))
        view.show(running(BOB, 1_000_000_000))
        view.refresh()
        shown = capsys.readouterr().out
    ann, bob = last_picture(shown)
    assert "Ann: running" in ann
    assert "fuel 3.000 G" in ann
    assert "Bob: running" in bob
    assert "fuel 1.000 G" in bob


@pytest.mark.usefixtures("terminal")
def test_a_bar_goes_with_its_provider_and_one_copy_needs_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    with WatchView(json_output=False, names=NAMES) as view:
        view.show(opened(copies=1, parts=2))
        view.show(running(ANN, 3_000_000_000))
        view.show(ProviderFailed(at=NOW, provider=ANN, reason="it vanished", missing_parts=2))
        view.show(running(BOB, 1_000_000_000, part=1))
        capsys.readouterr()
        view.refresh()
        shown = capsys.readouterr().out
    assert [each for each in last_picture(shown) if "part 1 (2 of 2)" in each] == last_picture(shown) != []
    assert "Bob" not in shown
