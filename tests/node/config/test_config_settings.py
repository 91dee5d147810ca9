import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config.lines import find_lines
from node.config.load import ConfigMissing, InvalidConfig, Mistake, load_settings
from node.config.render import render_default_toml
from node.config.settings import MAX_SOCKET_PATH_BYTES, Settings
from node.config.values import WorkingHours, write_toml
from protocol.errors import ConfigError
from protocol.units import format_amount


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("STOA_"):
            monkeypatch.delenv(name)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "stoa.toml"
    path.write_text(text)
    return path


def mistakes_of(path: Path | None, **options: Any) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        load_settings(path, options=options)
    assert isinstance(caught.value, ConfigError)
    assert all(str(mistake) in str(caught.value) for mistake in caught.value.mistakes)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_no_file_gives_the_defaults() -> None:
    settings = load_settings()
    assert settings.requester.commit_window_s == settings.requester.reveal_window_s == 1.0
    assert settings.requester.escrow_threshold == 10_000_000
    assert settings.chain.endpoint == "http://127.0.0.1:8545"
    assert settings.keystore == settings.node.data_dir / "wallet.json"
    assert settings.wallet.caps.to_spending_caps().per_task == 50_000_000
    assert not settings.provider.enabled
    assert settings.provider.worker_count >= 1


def test_the_file_that_init_writes_explains_every_setting_and_changes_none(tmp_path: Path) -> None:
    text = render_default_toml()
    assert load_settings(write(tmp_path, text)) == load_settings()
    active = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line and '"# ' not in line else line
        for line in text.splitlines()
        if not line.startswith("# Example")
    )
    assert load_settings(write(tmp_path, active)) == load_settings()
    written = tomllib.loads(active)
    for section, values in load_settings().model_dump().items():
        for name, value in values.items():
            assert value is None or name in written[section]
    assert all(len(line) <= 120 for line in text.splitlines())


def test_every_example_in_that_file_is_valid(tmp_path: Path) -> None:
    text = "\n".join(line.removeprefix("# Example: ") for line in render_default_toml().splitlines())
    assert text.count("Example") == 1  # the made-up peer
    settings = load_settings(write(tmp_path, text))
    assert settings.provider.working_hours == WorkingHours(start=22 * 60, end=6 * 60 + 30)
    assert settings.logging.levels == {"node.networking": "debug"}


def test_init_can_set_values_in_that_file(tmp_path: Path) -> None:
    values = {"node.name": 'a "quoted" \\ name', "provider.prices.start": "0.25", "network.listen_port": 5000}
    settings = load_settings(write(tmp_path, render_default_toml(values)))
    assert settings.node.name == values["node.name"]
    assert settings.provider.prices.start == 250_000
    assert settings.network.listen_port == 5000
    with pytest.raises(KeyError, match=r"node\.nmae"):
        render_default_toml({"node.nmae": "x"})


def test_options_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path, '[network]\nlisten_port = 1\nlisten_host = "::1"\nmax_peers = 7\n[provider.prices]\nstart = "1"'
    )
    monkeypatch.setenv("STOA_NETWORK__LISTEN_PORT", "2")
    monkeypatch.setenv("stoa_network__listen_host", "127.0.0.1")
    monkeypatch.setenv("STOA_PROVIDER__PRICES__GFUEL", "0.5")
    settings = load_settings(path, options={"network.listen_port": 3})
    assert settings.network.listen_port == 3
    assert settings.network.listen_host == "127.0.0.1"
    assert settings.network.max_peers == 7
    assert (settings.provider.prices.start, settings.provider.prices.gfuel) == (1_000_000, 500_000)


def test_lists_come_from_the_environment_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "0x52908400098527886E0F7030069857D2E4169EE7"
    monkeypatch.setenv("STOA_PROVIDER__ALLOW", f"{address}, {address.lower()}")
    monkeypatch.setenv("STOA_NETWORK__BOOTSTRAP", "/ip4/10.0.0.1/tcp/1/p2p/Qm1,/dns4/a.example/tcp/2/p2p/Qm2")
    settings = load_settings()
    assert settings.provider.allow == (bytes.fromhex(address[2:]),) * 2
    assert len(settings.network.bootstrap) == 2


MANY = """\
[network]
listen_port = 70000
bootstrap = ["/ip4/10.0.0.1/tcp/1/p2p/Qm1",
  "/ip4/10.0.0.1/tcp/1"]
lissten_host = "x"

[chain]
profile = "polygon"

[requester]
weight_price = 6000
escrow_treshold = "1"

[requests]
x = 1

[provider]
enabled = "perhaps"
cores = 1.5
credit_limit = 5.00
allow = ["0x52908400098527886E0F7030069857D2E4169Ee7", 7]

[provider.prices]
gfuel = "0.0000001"
start = "-1"

[logging]
level = "loud"
"""


def test_all_mistakes_are_named_at_once_each_with_its_place_and_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, MANY)
    monkeypatch.setenv("STOA_WALET__CAPS__PER_TASK", "1")
    monkeypatch.setenv("STOA_WALLET__CAPS__PER_HOUR", "lots")
    monkeypatch.setenv("STOA_WALLET__CAP__PER_HOUR", "1")
    monkeypatch.setenv("STOA_CHAIN__CONFIRMATIONS", "3")  # no mistake, and not to blame for the others in its section
    found = mistakes_of(path, **{"node.name": 5})
    expected = [
        ("environment variable STOA_WALET__CAPS__PER_TASK: ", "there is no section 'walet'; did you mean wallet?"),
        ("environment variable STOA_WALLET__CAPS__PER_HOUR: wallet.caps.per_hour: ", "'lots' is not an amount"),
        ("environment variable STOA_WALLET__CAP__PER_HOUR: wallet.cap: ", "did you mean caps?"),
        ("option node.name: node.name: ", "5 is not text; put it in quotes"),
        (f"{path}:2: network.listen_port: ", "70000 is too large; write at most 65535"),
        (f"{path}:3: network.bootstrap[1]: ", "names no peer"),
        (f"{path}:5: network.lissten_host: ", "there is no such setting; did you mean listen_host?"),
        (f"{path}:7: chain: ", "rpc_url is missing: profile polygon needs"),
        (f"{path}:12: requester.escrow_treshold: ", "did you mean escrow_threshold?"),
        (f"{path}:14: requests: ", "did you mean requester?"),
        (f"{path}:18: provider.enabled: ", "'perhaps' is neither true nor false"),
        (f"{path}:19: provider.cores: ", "1.5 is not a whole number"),
        (f"{path}:20: provider.credit_limit: ", "write the amount in quotes"),
        (f"{path}:21: provider.allow[0]: ", "fails its checksum"),
        (f"{path}:21: provider.allow[1]: ", "write an address in quotes"),
        (f"{path}:24: provider.prices.gfuel: ", "finer than a base unit"),
        (f"{path}:25: provider.prices.start: ", "'-1' is not an amount"),
        (
            f"{path}:28: logging.level: ",
            "'loud' is not one of the choices; write 'debug', 'info', 'warning' or 'error'",
        ),
    ]
    for start, part in expected:
        assert [mistake for mistake in found if mistake.startswith(start) and part in mistake], (start, part, found)
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("network = 5", ":1: network: 5 stands where a table belongs; write [network]"),
        ("[network\n", ":1: not valid TOML"),
        (
            "[requester]\nweight_price = 6000",
            ":1: requester: weight_price, weight_reputation and weight_speed add up to 11000",
        ),
        ("[requester]\nweight_price = 4999", "add up to 9999"),
        ("[chain]\nrpc_url = 'ftp://user:secret@x'", ":2: chain.rpc_url: write an http:// or https:// address"),
        ("[provider]\nworking_hours = '24:30-06:00'", ":2: provider.working_hours: '24:30-06:00' is past midnight"),
        ("[provider]\nworking_hours = '9-17'", "HH:MM-HH:MM"),
        ("[node]\ndata_dir = ''", ":2: node.data_dir: write a path"),
        ("[chain]\nmax_fee_gwei = nan", "max_fee_gwei: nan is not a number"),
        ("[network]\nlisten_port = true", ":2: network.listen_port: true is no value for this setting"),
        ("[network]\nadvertise = ['/ip4/1.2.3.4/udp/4600']", "is not a TCP multiaddress"),
        ("[operations]\nmetrics_listen = '9464'", ":2: operations.metrics_listen: '9464' is no address to listen on"),
        ("[operations]\nmetrics_listen = '127.0.0.1:70000'", "is no address to listen on"),
        ("[operations]\nmetrics_listen = '::1:9464'", 'write "127.0.0.1:9464" or "[::1]:9464"'),
        (
            "[operations]\ntraces_endpoint = 'grpc://user:secret@x'",
            "traces_endpoint: write an http:// or https:// address",
        ),
    ],
)
def test_a_mistake_is_explained(text: str, part: str, tmp_path: Path) -> None:
    found = mistakes_of(write(tmp_path, text))
    assert len(found) == 1
    assert part in found[0]
    assert "secret" not in found[0]


@pytest.mark.parametrize("text", ["127.0.0.1:9464", "[::1]:0", "localhost:1", "stoa-1.example:65535"])
def test_an_address_to_listen_on_is_written_as_it_is_read(text: str, tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, f'[operations]\nmetrics_listen = "{text}"'))
    assert str(settings.operations.metrics_listen) == text


def test_a_data_folder_whose_socket_path_would_be_too_long_is_refused() -> None:
    name = "control.sock"
    longest = "/" + "x" * (MAX_SOCKET_PATH_BYTES - len(name) - 2)
    assert len(str(load_settings(options={"node.data_dir": longest}).control_socket)) == MAX_SOCKET_PATH_BYTES
    (mistake,) = mistakes_of(None, **{"node.data_dir": longest + "x"})
    assert "api.control_socket" in mistake


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigMissing, match="No such file") as caught:
        load_settings(tmp_path / "none.toml")
    assert "stoa init" in caught.value.advice


def test_the_password_and_the_file_name_are_no_unknown_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOA_WALLET_PASSWORD", "x")
    monkeypatch.setenv("STOA_CONFIG", "y")
    assert isinstance(load_settings(), Settings)


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_working_hours_and_their_complement_cover_the_day_once(start: int, end: int, minute: int) -> None:
    hours, rest = WorkingHours(start=start, end=end), WorkingHours(start=end, end=start)
    if start == end:
        assert hours.contains(minute)
    else:
        assert hours.contains(minute) != rest.contains(minute)
    assert hours.contains(start)


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.", max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(VALUES)
def test_what_is_written_as_toml_reads_back_the_same(value: Any) -> None:
    assert tomllib.loads(f"x = {write_toml(value)}")["x"] == value


@given(st.integers(0, 2**64) | st.sampled_from([0, 1, 999_999, 1_000_000, 1_000_001, 10**6 * 10 + 500_000]))
def test_an_amount_in_the_settings_is_written_as_it_is_read(amount: int) -> None:
    settings = load_settings(options={"provider.credit_limit": f"{amount // 10**6}.{amount % 10**6:06}"})
    assert settings.provider.credit_limit == amount
    written = settings.model_dump()["provider"]["credit_limit"]
    assert load_settings(options={"provider.credit_limit": written}).provider.credit_limit == amount
    assert format_amount(amount).replace(",", "") == f"${written}"


def test_lines_are_found_also_past_multi_line_text_and_dotted_keys() -> None:
    text = 'a.b = 1\n[t] # x\nc = """\nd = 1\n"""\n"e" = 2\n[[u.v]]\nf=3\n'
    lines = find_lines(text)
    assert tomllib.loads(text)
    assert lines == {("a", "b"): 1, ("t",): 2, ("t", "c"): 3, ("t", "e"): 6, ("u", "v"): 7, ("u", "v", "f"): 8}


def test_a_mistake_reads_as_one_line() -> None:
    assert str(Mistake(where="f:1", key="a.b", problem="bad")) == "f:1: a.b: bad"
    assert str(Mistake(where="", key="a.b", problem="bad")) == "a.b: bad"
