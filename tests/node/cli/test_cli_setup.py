"""Commands that work on files of the node: init, wallet, provide's configuration, the local chain."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from node.chain.deployment import Deployment, save_deployment
from node.chain.errors import AnvilMissing
from node.cli.chain_files import AlreadyRunning, LocalChainFiles, hold_chain, running_chain
from node.cli.commands.provide import price_of_gfuel
from node.cli.failures import ExitCode, UsageMistake
from node.cli.toml_edit import ConfigNotChanged, change_settings
from node.config.load import load_settings
from node.config.render import render_default_toml
from node.wallet.host_key import create_host_key, open_host_key
from node.wallet.keystore import create_wallet, export_keystore, import_keystore, import_private_key, open_wallet
from node.wallet.keystore_v3 import ScryptCost
from protocol.identity import Address, format_address
from protocol.units import Amount
from tests.node.cli.cli_lab import running, stoa

ROOT = Path(__file__).resolve().parents[3]
LIGHT = ScryptCost(n=2**12)
KEY = "0x" + "4c" * 32


@pytest.fixture(autouse=True)
def light_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file's cost is its default argument; a second of scrypt for each would be spent on nothing here."""
    for function in (create_wallet, create_host_key, import_private_key, import_keystore, export_keystore):
        defaults = function.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "cost", LIGHT)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("correct horse\nsecond line\n")
    return path


def test_init_makes_everything_once_and_changes_nothing_later(tmp_path: Path, password_file: Path) -> None:
    folder = tmp_path / "node"
    command = ("--data-dir", str(folder), "--json", "init", "--password-file", str(password_file))
    first = stoa(*command, "--name", "alice", "--listen-port", "4711")
    assert first.exit_code == ExitCode.DONE, first.output
    made = json.loads(first.stdout)
    assert made["created"] == ["config", "wallet", "host key"]
    files = {path: path.read_bytes() for path in folder.iterdir()}
    assert {path.name for path in files} == {"stoa.toml", "wallet.json", "host.json"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)

    again = json.loads(stoa(*command, "--name", "bob").stdout)
    assert again == {**made, "created": []}
    assert {path: path.read_bytes() for path in folder.iterdir()} == files

    settings = load_settings(folder / "stoa.toml")
    assert (settings.node.name, settings.network.listen_port) == ("alice", 4711)
    assert settings.node.data_dir == folder
    wallet = trio.run(open_wallet, settings.keystore, "correct horse")
    assert format_address(wallet.address) == made["wallet"]
    trio.run(open_host_key, settings.host_key, "correct horse")


def test_init_with_another_password_does_not_make_a_node_that_cannot_start(tmp_path: Path, password_file: Path) -> None:
    folder = tmp_path / "node"
    folder.mkdir(mode=0o700)
    trio.run(lambda: create_wallet(folder / "wallet.json", "another"))
    result = stoa("--data-dir", str(folder), "init", "--password-file", str(password_file))
    assert result.exit_code == ExitCode.SETUP
    assert "does not open" in result.stderr
    assert not (folder / "host.json").exists()


def test_init_without_a_terminal_or_password_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STOA_WALLET_PASSWORD", raising=False)
    result = stoa("--data-dir", str(tmp_path / "node"), "init")
    assert result.exit_code == ExitCode.SETUP
    assert "--password-file" in result.stderr
    monkeypatch.setenv("STOA_WALLET_PASSWORD", "from the environment")
    assert stoa("--data-dir", str(tmp_path / "node"), "init").exit_code == ExitCode.DONE
    trio.run(open_wallet, tmp_path / "node/wallet.json", "from the environment")


@pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"\n", "empty"), (b"\xff\n", "UTF-8")])
def test_a_password_file_without_a_password_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "empty").write_bytes(content)
    result = stoa("--data-dir", str(tmp_path / "node"), "init", "--password-file", str(tmp_path / "empty"))
    assert result.exit_code == ExitCode.SETUP
    assert said in result.stderr


def test_init_needs_an_endpoint_for_a_real_chain(tmp_path: Path, password_file: Path) -> None:
    folder = str(tmp_path / "node")
    result = stoa("--data-dir", folder, "init", "--profile", "polygon", "--password-file", str(password_file))
    assert result.exit_code == ExitCode.SETUP
    assert "rpc_url is missing" in result.stderr


def test_run_with_mistakes_in_the_configuration_names_them_all(tmp_path: Path) -> None:
    (tmp_path / "stoa.toml").write_text("[network]\nlisten_prt = 1\n[provider]\ncores = 0\n")
    result = stoa("--data-dir", str(tmp_path), "run")
    assert result.exit_code == ExitCode.SETUP
    assert "2 mistakes" in result.stderr
    assert "did you mean listen_port" in result.stderr


def test_wallet_export_and_import_move_one_key(tmp_path: Path, password_file: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(mode=0o700)
    address = trio.run(lambda: import_private_key(first / "wallet.json", KEY, "correct horse"))
    (tmp_path / "copy-password").write_text("of the copy\n")
    copy = tmp_path / "copy.json"
    new = ("--new-password-file", str(tmp_path / "copy-password"))
    password = ("--password-file", str(password_file))

    exported = stoa("--data-dir", str(first), "--json", "wallet", "export", str(copy), *password, *new)
    assert exported.exit_code == ExitCode.DONE, exported.output
    assert trio.run(open_wallet, copy, "of the copy").address == address

    source = ("--source-password-file", str(tmp_path / "copy-password"))
    imported = stoa("--data-dir", str(second), "--json", "wallet", "import", str(copy), *source, *password)
    assert json.loads(imported.stdout)["wallet"] == format_address(address)
    assert trio.run(open_wallet, second / "wallet.json", "correct horse").address == address

    twice = stoa("--data-dir", str(second), "wallet", "import", str(copy), *source, *password)
    assert twice.exit_code == ExitCode.SETUP
    assert "not overwritten" in twice.stderr


def test_a_bare_key_is_imported_and_never_shown(tmp_path: Path, password_file: Path) -> None:
    (tmp_path / "key.txt").write_text(KEY + "\n")
    command = ("--data-dir", str(tmp_path / "node"), "wallet", "import", "--raw", "--password-file", str(password_file))
    result = stoa(*command, str(tmp_path / "key.txt"))
    assert result.exit_code == ExitCode.DONE, result.output
    assert KEY[2:] not in result.output
    (tmp_path / "bad.txt").write_text("4c" * 31)
    other = stoa("--data-dir", str(tmp_path / "other"), *command[2:], str(tmp_path / "bad.txt"))
    assert other.exit_code == ExitCode.SETUP
    assert "4c4c" not in other.output


def test_a_setting_is_changed_in_place_and_all_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "stoa.toml"
    path.write_text('# mine\n[provider]\ncores = 1 \n# enabled = false\n\n[provider.prices]\n# gfuel = "0.002"\n')
    path.chmod(0o640)
    change_settings(path, {"provider.enabled": True, "provider.cores": 2, "provider.prices.gfuel": "0.5"})
    change_settings(path, {"provider.prices.start": "0.1", "node.name": "n", "provider.enabled": False})
    assert path.read_text() == (
        '# mine\n[provider]\ncores = 2\nenabled = false\n\n[provider.prices]\nstart = "0.1"\ngfuel = "0.5"\n'
        '\n[node]\nname = "n"\n'
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert load_settings(path).provider.prices.gfuel == Amount(500_000)


def test_a_change_that_would_break_the_configuration_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "stoa.toml"
    path.write_text("[provider]\ncores = [\n  1,\n]\n")
    with pytest.raises(ConfigNotChanged, match="mistakes"):
        change_settings(path, {"provider.cores": 2})
    path.write_text("[provider]\n")
    with pytest.raises(ConfigNotChanged, match="mistakes"):
        change_settings(path, {"provider.cores": 0})
    assert path.read_text() == "[provider]\n"
    assert [each.name for each in tmp_path.iterdir()] == ["stoa.toml"]


def test_prices_go_to_the_running_node_and_into_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "stoa.toml"
    config.write_text(render_default_toml())
    with running(tmp_path) as place:
        view = place.json("provide", "--core-hour", "7.20", "--start", "0.5")
        # 7.20 an hour is 2,000 base units a second; the median core does 2 Gfuel in it
        assert view["prices"]["gfuel"] == "1000"
        assert view["prices"]["start"] == "500000"
        assert view["enabled"] is True
        assert view["fuel_per_s"] == 10**9
        settings = load_settings(config)
        assert settings.provider.enabled
        assert (settings.provider.prices.gfuel, settings.provider.prices.start) == (Amount(1_000), Amount(500_000))
        assert place.stoa("provide", "--stop").exit_code == ExitCode.DONE
        assert not place.node.selling.enabled
        assert not load_settings(config).provider.enabled
        assert place.json("provide", "--drain")["draining"] is True


def test_prices_without_a_running_node_wait_in_the_configuration(tmp_path: Path) -> None:
    assert stoa("--data-dir", str(tmp_path), "provide", "--gfuel", "0.5").exit_code == ExitCode.NOT_RUNNING
    config = tmp_path / "stoa.toml"
    config.write_text(render_default_toml())
    assert stoa("--data-dir", str(tmp_path), "provide", "--gfuel", "0.5").exit_code == ExitCode.DONE
    assert load_settings(config).provider.enabled
    assert load_settings(config).provider.prices.gfuel == Amount(500_000)
    assert stoa("--data-dir", str(tmp_path), "provide", "--core-hour", "1").exit_code == ExitCode.NOT_RUNNING
    assert stoa("--data-dir", str(tmp_path), "provide", "--core-hour", "1", "--gfuel", "1").exit_code == ExitCode.USAGE


@pytest.mark.parametrize(("hourly", "speed", "price"), [(1, 10**9, 1), (3_600, 10**9, 1), (3_601, 10**9, 2), (0, 5, 1)])
def test_the_price_of_fuel_is_rounded_up_and_never_nothing(hourly: int, speed: int, price: int) -> None:
    assert price_of_gfuel(Amount(hourly), speed) == price


def test_a_price_needs_a_speed() -> None:
    with pytest.raises(UsageMistake):
        price_of_gfuel(Amount(1), 0)


def test_one_local_chain_a_folder_and_a_dead_one_is_not_there(tmp_path: Path) -> None:
    files = LocalChainFiles(tmp_path)
    assert running_chain(files) is None
    with hold_chain(files):
        assert running_chain(files) is not None
        with pytest.raises(AlreadyRunning), hold_chain(files):
            pass
    assert running_chain(files) is None
    result = stoa("--data-dir", str(tmp_path), "chain", "stop")
    assert result.exit_code == ExitCode.SETUP
    assert "no local chain" in result.stderr


def test_a_missing_chain_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise AnvilMissing

    monkeypatch.setattr("node.chain.anvil.find_anvil", nowhere)
    result = stoa("--data-dir", str(tmp_path), "chain", "start", "--port", "0")
    assert result.exit_code == ExitCode.SETUP
    assert "anvil" in result.stderr


def a_node(folder: Path, password: str) -> tuple[str, ...]:
    """Keys, a password file and options for a node whose chain is not there."""
    folder.mkdir(mode=0o700)
    trio.run(lambda: create_wallet(folder / "wallet.json", "correct horse"))
    trio.run(lambda: create_host_key(folder / "host.json", "correct horse"))
    (folder / "password").write_text(password + "\n")
    (folder / "stoa.toml").write_text(
        '[network]\nlisten_host = "127.0.0.1"\nlisten_port = 0\n[chain]\nrpc_url = "http://127.0.0.1:9"\n'
    )
    return ("--data-dir", str(folder), "run", "--password-file", str(folder / "password"))


@pytest.mark.parametrize(
    ("password", "said"), [("wrong", "the password does not open"), ("correct horse", "127.0.0.1:9")]
)
def test_a_node_that_cannot_start_says_why_without_a_traceback(tmp_path: Path, password: str, said: str) -> None:
    options = a_node(tmp_path / "node", password)
    token, escrow, channel = (Address(bytes([number]) * 20) for number in (1, 2, 3))
    deployment = Deployment(chain_id=31337, token=token, escrow=escrow, payment_channel=channel, block=1)
    save_deployment(tmp_path / "node/deployments.json", deployment)
    command = [sys.executable, "-m", "node.cli.main", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode in (ExitCode.SETUP, ExitCode.LATER), done.stderr
    assert said in done.stderr
    assert "What to do:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "node/control.sock").exists()


def test_a_bug_of_the_running_node_leaves_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(settings: object, password: str) -> None:
        raise ExceptionGroup("nursery", [KeyError("the bug")])

    monkeypatch.setattr("node.app.run.run_node", buggy)
    result = stoa(*a_node(tmp_path / "node", "correct horse"))
    assert result.exit_code == ExitCode.BUG
    assert "Traceback" in result.stderr
    assert "the bug" in result.stderr
