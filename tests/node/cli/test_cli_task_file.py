"""Task files: what is read, and how mistakes are named."""

from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from node.cli.failures import UsageMistake
from node.cli.order import FileUnreadable, make_order, prepare
from node.cli.policy import PolicySpec, parse_policy
from node.cli.task_file import InvalidTaskFile, load_task_file
from node.cli.terms import merge_offer
from protocol.task.manifest import MANIFEST_MAX_BYTES, Manifest
from protocol.units import Amount
from protocol.wire.codec import decode
from tests.node.cli.cli_lab import LIMITS, OFFER, write_task

HEAD = 'name = "a-task"\nmodule = "module.wasm"\n'
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def mistakes_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(InvalidTaskFile) as caught:
        load_task_file(path)
    return caught.value.mistakes


@pytest.mark.parametrize("example", ["factors", "image-filter", "monte-carlo", "sqlite-query", "word-statistics"])
def test_every_example_reads_and_becomes_a_manifest(example: str) -> None:
    task = load_task_file(EXAMPLES / example)
    prepared = prepare(task)
    order = make_order(prepared, task.offer)
    assert decode(Manifest, order.manifest, max_bytes=MANIFEST_MAX_BYTES) == prepared.manifest
    assert prepared.manifest.args[0] == example


def test_digests_are_of_the_files_bytes_and_each_file_is_sent_once(tmp_path: Path) -> None:
    text = HEAD + 'stdin = "in.txt"\nfiles = [{ path = "/data/in.txt", source = "in.txt" }]\n' + LIMITS + OFFER
    prepared = prepare(load_task_file(write_task(tmp_path, text)))
    (part,) = prepared.manifest.parts
    assert part.stdin is not None
    assert part.stdin.digest == blake3(b"some input\n").digest()
    assert part.stdin.size == len(b"some input\n")
    assert prepared.manifest.files[0].blob == part.stdin
    assert len(prepared.sources) == 2


def test_a_part_adds_arguments_and_files_and_replaces_standard_input(tmp_path: Path) -> None:
    text = (
        HEAD
        + 'args = ["--all"]\nstdin = "in.txt"\nfiles = [{ path = "/a", source = "in.txt" }]\n'
        + LIMITS
        + '[[parts]]\nargs = ["--part", "0"]\n'
        + '[[parts]]\nargs = ["--part", "1"]\nstdin = "other.txt"\nfiles = [{ path = "/b", source = "other.txt" }]\n'
        + OFFER
    )
    (tmp_path / "other.txt").write_text("another input\n")
    manifest = prepare(load_task_file(write_task(tmp_path, text))).manifest
    first, second = manifest.parts
    assert manifest.args == ("a-task", "--all")
    assert (first.args, second.args) == (("--part", "0"), ("--part", "1"))
    assert first.stdin is not None
    assert second.stdin is not None
    assert first.stdin.digest == blake3(b"some input\n").digest()
    assert second.stdin.digest == blake3(b"another input\n").digest()
    assert [file.path for file in manifest.files] == ["/a"]
    assert [file.path for file in second.files] == ["/b"]


def test_all_mistakes_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    text = (
        'name = ""\n'
        'modul = "module.wasm"\n'
        "args = [1]\n"
        'stdin = "absent.txt"\n'
        'output = "../escape"\n'
        'files = [{ path = "data/in.csv", source = "in.txt" }, { path = "/x/../y" }]\n'
        "clock = -1\n"
        "[limits]\n"
        "fuel = 0\n"
        "memory_mib = true\n"
        "output_bytes = 10\n"
        "log_byts = 10\n"
        "[offer]\n"
        "budget = 0.40\n"
        'format = "dutch"\n'
        "weights = [5000, 3000, 1000]\n"
    )
    found = mistakes_of(write_task(tmp_path, text))
    said = "\n".join(found)
    for expected in (
        "module: is missing",
        "line 2: modul: there is no such key; did you mean module?",
        "line 3: args: 1 is no text",
        "line 4: stdin: there is no file",
        "line 5: output:",
        "is no absolute path",
        "source: is missing",
        "line 7: clock: -1 is not a whole number",
        "line 9: limits.fuel: 0",
        "line 10: limits.memory_mib: True",
        "line 12: limits.log_byts: there is no such key; did you mean log_bytes?",
        'line 14: offer.budget: write dollars in quotes: "0.4"',
        "line 15: offer.format: 'dutch' is none of",
        "line 16: offer.weights:",
    ):
        assert expected in said, (expected, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "not valid TOML"),
        (HEAD + OFFER, "limits.fuel: is missing"),
        ("limits = 5\n" + HEAD, "write a table"),
        (HEAD + "parts = 5\n" + LIMITS, "list of tables"),
        (HEAD + "env = { A = 1 }\n" + LIMITS, "env"),
        (HEAD + 'seed = "abc"\n' + LIMITS, "seed"),
        (HEAD + LIMITS + '[offer]\nbudget = "-1"\n', "offer.budget"),
        (HEAD + LIMITS + '[offer]\nbudget = "0.0000001"\n', "offer.budget"),
        (HEAD + LIMITS + '[offer]\nhire = "0x12"\n', "offer.hire"),
        (HEAD + LIMITS + '[offer]\nverify = "audit:0%"\n', "offer.verify"),
        (HEAD + LIMITS + "[offer]\nverify = 3\n", "offer.verify"),
        (HEAD + LIMITS + "[offer]\ncommit_window_s = 0\n", "commit_window_s"),
        (HEAD + 'files = [{path="/a",source="in.txt"},{path="/a",source="in.txt"}]\n' + LIMITS, "same path"),
        ('name = "x"\nmodule = "npm:@nobody/nothing/x.wasm"\n' + LIMITS, "module"),
        ('name = "' + "x" * 257 + '"\nmodule = "module.wasm"\n' + LIMITS, "more than 256 bytes"),
        (HEAD + f"args = {[str(n) for n in range(64)]}\n" + LIMITS, "63 arguments"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in "\n".join(mistakes_of(write_task(tmp_path, text)))


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    assert "No such file" in mistakes_of(tmp_path / "absent.toml")[0]
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "not valid TOML" in mistakes_of(tmp_path / "binary.toml")[0]


def test_a_package_file_is_found_above_the_task(tmp_path: Path) -> None:
    package = tmp_path / "node_modules/@some/package"
    package.mkdir(parents=True)
    (package / "tool.wasm").write_bytes(b"\0asm")
    path = write_task(tmp_path / "deep/er", 'name = "x"\nmodule = "npm:@some/package/tool.wasm"\n' + LIMITS)
    assert load_task_file(path).module == package / "tool.wasm"


def test_options_win_over_the_file(tmp_path: Path) -> None:
    task = load_task_file(write_task(tmp_path))
    offer = merge_offer(
        task.offer,
        budget="2.50",
        max_eta_s=None,
        format_name="open",
        hire=None,
        commit_window_s=3.0,
        reveal_window_s=None,
        weights="10000,0,0",
        verify="audit:12.5%",
    )
    order = make_order(prepare(task), offer)
    assert (order.budget, order.max_eta_s, order.format) == (Amount(2_500_000), 60, "open")
    assert (order.weight_price, order.weight_reputation, order.weight_speed) == (10_000, 0, 0)
    assert (order.commit_window_s, order.reveal_window_s) == (3.0, None)
    assert (order.verification, order.audit_rate, order.copies) == ("audit", 1_250, None)


def test_a_file_says_how_results_are_checked(tmp_path: Path) -> None:
    task = load_task_file(write_task(tmp_path, HEAD + LIMITS + '[offer]\nverify = "copies:3"\n'))
    assert task.offer.verify == PolicySpec(kind="copies", copies=3)


TEST = '[test]\nmodule = "check.wasm"\nfuel = 5_000\nmemory_mib = 8\n'
DEAR = '[offer]\nbudget = "1.00"\nmax_eta_s = 60\n'


def test_a_task_that_brings_its_test_is_tested_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "check.wasm").write_bytes(b"check")
    task = load_task_file(write_task(tmp_path, HEAD + LIMITS + TEST + DEAR))
    prepared = prepare(task)
    order = make_order(prepared, task.offer)
    assert order.verification == "test"
    assert order.test is not None
    assert (order.test.module_bytes, order.test.fuel, order.test.memory_mib) == (5, 5_000, 8)
    assert order.test.module in {blob.digest for blob in prepared.sources}, "it is uploaded with the rest"
    assert order.test.module not in {blob.digest for blob in prepared.manifest.blobs()}
    trusted = make_order(prepared, replace(task.offer, verify=PolicySpec(kind="trust")))
    assert (trusted.verification, trusted.test) == ("trust", None)


def test_a_test_that_is_missing_or_half_said_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidTaskFile, match="needs a table"):
        load_task_file(write_task(tmp_path, HEAD + LIMITS + '[offer]\nverify = "test"\n'))
    with pytest.raises(InvalidTaskFile) as caught:
        load_task_file(write_task(tmp_path, HEAD + LIMITS + "[test]\nfuel = 0\nspeed = 3\n"))
    told = "\n".join(caught.value.mistakes)
    assert all(key in told for key in ("test.module", "test.fuel", "test.memory_mib", "test.speed"))
    task = load_task_file(write_task(tmp_path, HEAD + LIMITS + DEAR))
    with pytest.raises(UsageMistake, match="no test"):
        make_order(prepare(task), replace(task.offer, verify=PolicySpec(kind="test")))


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("trust", PolicySpec(kind="trust")),
        ("audit", PolicySpec(kind="audit")),
        ("audit:0.01%", PolicySpec(kind="audit", audit_rate=1)),
        ("audit:0.29%", PolicySpec(kind="audit", audit_rate=29)),
        ("audit:100%", PolicySpec(kind="audit", audit_rate=10_000)),
        ("copies", PolicySpec(kind="copies")),
        ("copies:2", PolicySpec(kind="copies", copies=2)),
        ("copies:16", PolicySpec(kind="copies", copies=16)),
        ("test", PolicySpec(kind="test")),
    ],
)
def test_every_way_to_check_results_can_be_written(text: str, policy: PolicySpec) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "Trust",
            "trust:1",
            "trust:10%",
            "test:1",
            "test:check.wasm",
            "audit:",
            "audit:0%",
            "audit:0.001%",
            "audit:100.01%",
            "audit:10",
        ),
        *("audit:-1%", "audit:²%", "audit:1e1%", "copies:1", "copies:17", "copies:2%", "copies: 3", "audit:10%\n"),
    ],
)
def test_what_is_no_way_to_check_results_is_refused_with_advice(text: str) -> None:
    with pytest.raises(UsageMistake) as caught:
        parse_policy(text)
    assert "copies:3" in caught.value.advice


@pytest.mark.parametrize(
    "weights", ["1,2", "5000,3000,2001", "5000,3000,-2000", "a,b,c", "5000,3000,2000,0", "²,0,10000"]
)
def test_weights_that_do_not_add_up_are_refused(tmp_path: Path, weights: str) -> None:
    with pytest.raises(UsageMistake, match="add up"):
        merge_offer(
            load_task_file(write_task(tmp_path)).offer,
            budget=None,
            max_eta_s=None,
            format_name=None,
            hire=None,
            commit_window_s=None,
            reveal_window_s=None,
            weights=weights,
        )


def test_a_task_without_a_budget_is_asked_for_one(tmp_path: Path) -> None:
    task = load_task_file(write_task(tmp_path, HEAD + LIMITS))
    with pytest.raises(UsageMistake, match="budget"):
        make_order(prepare(task), task.offer)


def test_a_file_that_went_away_after_reading_is_named(tmp_path: Path) -> None:
    task = load_task_file(write_task(tmp_path))
    (tmp_path / "in.txt").unlink()
    with pytest.raises(FileUnreadable, match=r"in\.txt"):
        prepare(task)


def test_a_manifest_that_no_offer_could_carry_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    text = HEAD + LIMITS + "".join(f'[[parts]]\nargs = ["{"x" * 200}"]\n' for _ in range(200)) + OFFER
    with pytest.raises(UsageMistake, match="manifest has"):
        prepare(load_task_file(write_task(tmp_path, text)))
