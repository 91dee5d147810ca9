"""A network of real processes to try things on: commands, kills, restarts, books, and what failed nodes last said.

The network lives in a thread of its own with its own trio loop, so that all tests of a file share one.
"""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from node.api.client import open_client
from node.api.errors import RemoteRefusal
from node.api.facade import NodeFacade
from node.api.views import ChannelView, TaskDetail, TaskEvent, TaskView
from node.chain.local import POOL, LocalTerms, fund
from node.chain.opening import open_chain
from node.chain.profile import LOCAL
from node.cli.order import make_order, prepare, upload
from node.cli.task_file import OfferSpec, load_task_file
from node.cli.terms import merge_offer
from node.devnet.balances import Snapshot, find_discrepancies, take_snapshot
from node.devnet.devnet import REQUESTER_TOKENS, TERMS, Devnet, open_devnet
from node.devnet.layout import NodePlace
from protocol.identity import ZERO_ADDRESS, Address

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples"
CLI_TIMEOUT_S: Final = 90.0
WAIT_TIMEOUT_S: Final = 150.0
THREAD_TIMEOUT_S: Final = 120.0
POLL_S: Final = 0.1
LAST_LINES: Final = 25
LONGEST_FIELD: Final = 160
CHATTER: Final = ("network.", "discovery.", "storage.projections")
DULL: Final = ("level", "logger")


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that it said."""
        return f"exit status {self.code}\n{self.out}\n{self.err}"

    @property
    def error(self) -> dict[str, Any]:
        """What `--json` says of a failure, on standard error."""
        return json.loads(self.err.strip().splitlines()[-1])["error"]

    def documents(self) -> list[dict[str, Any]]:
        """What `--json` printed, a document a line."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]


async def run_cli(*arguments: str | Path, env: dict[str, str] | None = None, stdin: bytes = b"") -> Ran:
    """Run `stoa` with these arguments to its end."""
    command = [sys.executable, "-m", "node.cli.main", *map(str, arguments)]
    with trio.fail_after(CLI_TIMEOUT_S):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT, env=env, stdin=stdin
        )
    return Ran(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


class Lab:
    """The running network, from the tests' side. Made by `run_lab`."""

    def __init__(self, devnet: Devnet, token: trio.lowlevel.TrioToken) -> None:
        self.devnet, self.token = devnet, token
        self.supply = int(REQUESTER_TOKENS)

    @property
    def requester(self) -> NodePlace:
        """The node that buys."""
        return self.devnet.requester

    def place_of(self, wallet: Address | None) -> NodePlace:
        """Return the node with this wallet."""
        return next(place for place in self.devnet.places if place.wallet == wallet)

    async def cli(self, place: NodePlace, *arguments: str | Path) -> Ran:
        """Run a command of `place`'s operator."""
        return await run_cli("--config", place.config, *arguments)

    async def kill(self, place: NodePlace) -> None:
        """SIGKILL it, and wait until it is gone."""
        await self._in_its_thread(self.devnet.processes[place.name].kill)

    async def start(self, place: NodePlace) -> None:
        """Start it again, and wait until it answers."""
        await self._in_its_thread(self.devnet.processes[place.name].start)

    async def heal(self) -> None:
        """Start whatever an earlier test left dead."""
        for place in self.devnet.places:
            if not self.devnet.processes[place.name].is_running:
                await self.start(place)

    async def _in_its_thread(self, work: Callable[[], Awaitable[None]]) -> None:
        def call() -> None:
            trio.from_thread.run(work, trio_token=self.token)

        await trio.to_thread.run_sync(call)

    async def submit(self, path: Path, **terms: Any) -> TaskView:
        """Submit a task file as `stoa task submit` does, without following it."""
        return await submit_to(self.requester, path, **terms)

    async def watch(self, place: NodePlace, task: TaskView, until: Callable[[TaskEvent], bool]) -> TaskEvent:
        """Follow a task until an event that `until` wants, and return it at once."""
        async with open_client(place.socket) as client:
            with trio.fail_after(WAIT_TIMEOUT_S):
                async with client.stream(NodeFacade.task_watch, task=task.task.hex()) as events:
                    async for event in events:
                        if until(event):
                            return event
        raise AssertionError(f"the task ended without the event that was waited for\n{self.last_words()}")

    async def wait_ended(self, task: TaskView) -> TaskDetail:
        """Wait until a task is over, and return what became of it."""
        await self.watch(self.requester, task, lambda event: event.kind == "task-ended")
        return await self.detail(task)

    async def detail(self, task: TaskView) -> TaskDetail:
        """Return a task as its requester's node knows it."""
        async with open_client(self.requester.socket) as client:
            return await client.call(NodeFacade.task_show, task=task.task.hex())

    async def until(self, what: str, test: Callable[[], Awaitable[bool]], timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """Wait until `test` holds."""
        with trio.move_on_after(timeout_s):
            while not await test():
                await trio.sleep(POLL_S)
            return
        raise AssertionError(f"after {timeout_s:g} s not yet: {what}\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the ends of all nodes' logs, for the message of an assertion."""
        return "\n".join(f"--- {place.name}\n{last_lines(place.log)}" for place in self.devnet.places)

    # ------------------------------------------------------------------------------------------------------- money

    @property
    def parties(self) -> dict[str, Address]:
        """All that own tokens: nodes and contracts."""
        deployment = self.devnet.deployment
        nodes = {place.name: place.wallet for place in self.devnet.places}
        contracts = {"escrow": deployment.escrow, "channels": deployment.payment_channel}
        if deployment.has_court:
            contracts |= {"court": deployment.court, "bench": deployment.bench}
        return {**nodes, **contracts, "stakes": deployment.reputation, "pool": POOL}

    async def snapshot(self) -> Snapshot:
        """Read all balances at the newest block."""
        async with open_chain(LOCAL, self.devnet.rpc_url, self.devnet.deployment) as chain:
            return await take_snapshot(chain, self.parties)

    async def assert_books_balance(self, before: Snapshot) -> Snapshot:
        """Check every token and every fee since `before`, to the base unit and the wei; return what is owned now."""
        async with open_chain(LOCAL, self.devnet.rpc_url, self.devnet.deployment) as chain:
            after = await take_snapshot(chain, self.parties, since=before.block)
        assert find_discrepancies(before, after, self.supply) == (), self.last_words()
        return after

    async def refill(self) -> None:
        """Give the requester new money when half of what it began with is spent: a sweep buys for more than it has."""
        holding = (await self.snapshot()).holdings[self.requester.name]
        if holding.tokens < REQUESTER_TOKENS // 2:
            devnet = self.devnet
            await fund(devnet.rpc_url, devnet.deployment, [self.requester.wallet], tokens=REQUESTER_TOKENS)
            self.supply += REQUESTER_TOKENS

    async def channels_of(self, place: NodePlace) -> tuple[ChannelView, ...]:
        """Return the channels that a node knows."""
        async with open_client(place.socket) as client:
            return await client.call(NodeFacade.channel_list)

    async def settle(self) -> None:
        """Close every channel together, and wait until no contract holds anything: all is paid or returned."""

        async def are_closed() -> bool:
            async with open_client(self.requester.socket) as client:
                for channel in await client.call(NodeFacade.channel_list):
                    if channel.role == "payer" and channel.state == "open":
                        try:
                            await client.call(NodeFacade.channel_close, channel=channel.channel.hex())
                        except RemoteRefusal:  # a payee that was away has yet to release its hold
                            return False
            return True

        await self.until("every channel is closed", are_closed)

        async def is_empty() -> bool:
            holdings = (await self.snapshot()).holdings
            return holdings["escrow"].tokens == 0 and holdings["channels"].tokens == 0

        await self.until("the contracts hold nothing", is_empty)

    def income(self, before: Snapshot, after: Snapshot) -> dict[str, int]:
        """Return by how much each party's tokens changed."""
        return {name: after.holdings[name].tokens - before.holdings[name].tokens for name in after.holdings}


async def submit_to(place: NodePlace, path: Path, **terms: Any) -> TaskView:
    """Submit a task file to one node; `terms` as `merge_offer` takes them."""
    task = load_task_file(path)
    offer = merged(task.offer, **terms)
    prepared = prepare(task)
    async with open_client(place.socket) as client:
        await upload(client, prepared, lambda _count: None)
        return await client.call(NodeFacade.task_submit, order=make_order(prepared, offer))


def merged(offer: OfferSpec, **terms: Any) -> OfferSpec:
    """Return the offer with these options of the command line."""
    names = (
        "budget", "max_eta_s", "format_name", "hire", "commit_window_s", "reveal_window_s", "weights", "verify",
    )  # fmt: skip
    return merge_offer(offer, **{name: terms.get(name) for name in names})


def last_lines(path: Path, count: int = LAST_LINES) -> str:
    """Return the end of a log, a short line an event, without the network's comings and goings."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    told = [line for line in map(_shorten, lines) if line]
    return "\n".join(told[-count:]) or "it said nothing"


def _shorten(line: str) -> str:
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    event = str(fields.pop("event", ""))
    if event.startswith(CHATTER):
        return ""
    at = str(fields.pop("timestamp", ""))[11:23]
    shown = " ".join(f"{name}={str(value)[:LONGEST_FIELD]}" for name, value in fields.items() if name not in DULL)
    return f"{at} {event} {shown}"


def make_monte_carlo(folder: Path, *, parts: int, batches: int, paths: int, budget: str) -> Path:
    """Make a smaller Monte-Carlo task, with its own checker beside it, and return its folder."""
    folder.mkdir(parents=True)
    for name in ("monte_carlo.wasm", "check.py"):
        shutil.copy(EXAMPLES / "monte-carlo" / name, folder)
    arguments = ["--seed", "2026", "--batches", str(batches), "--paths", str(paths)]
    arguments += ["--spot", "10000", "--strike", "10500", "--rate", "300", "--volatility", "2000"]
    fuel = batches * paths * 20_000  # a path of 252 days takes 15,300
    text = f"""name = "small-monte-carlo"
module = "monte_carlo.wasm"
args = {json.dumps(arguments)}
output = "batches.tsv"
[limits]
fuel = {fuel}
memory_mib = 8
output_bytes = 131072
[offer]
budget = "{budget}"
max_eta_s = 120
"""
    text += "".join(f'[[parts]]\nargs = ["--part", "{number}"]\n' for number in range(parts))
    (folder / "task.toml").write_text(text)
    return folder


def files_of(folder: Path) -> list[Path]:
    """Return what is in a folder, by name."""
    return sorted(folder.iterdir())


def check_output(example: Path, *outputs: Path) -> subprocess.CompletedProcess[str]:
    """Run an example's own checker, a program that shares nothing with the module."""
    command = [sys.executable, str(example / "check.py"), *map(str, outputs)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def run_lab(
    folder: Path,
    *,
    providers: int = 3,
    watchers: int = 0,
    overrides: dict[str, Any] | None = None,
    own: Mapping[str, dict[str, Any]] | None = None,
    terms: LocalTerms = TERMS,
    court: bool = False,
    arbiter: Address = ZERO_ADDRESS,
) -> Generator[Lab]:
    """Run a network in a thread until the block ends."""
    ready = threading.Event()
    made: list[Lab] = []
    failures: list[BaseException] = []
    ending: list[trio.Event] = []

    async def hold() -> None:
        ending.append(trio.Event())
        network = open_devnet(
            folder,
            providers=providers,
            watchers=watchers,
            overrides=overrides,
            own=own,
            terms=terms,
            court=court,
            arbiter=arbiter,
        )
        async with network as devnet:
            made.append(Lab(devnet, trio.lowlevel.current_trio_token()))
            ready.set()
            await ending[0].wait()

    def work() -> None:
        try:
            trio.run(hold)
        except BaseException as error:  # noqa: BLE001 - told to the test below, whatever it is
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="devnet")
    thread.start()
    try:
        if not ready.wait(THREAD_TIMEOUT_S) or not made:
            raise RuntimeError(f"the network did not start: {failures}")
        yield made[0]
    finally:
        if made and thread.is_alive():
            trio.from_thread.run_sync(ending[0].set, trio_token=made[0].token)
        thread.join(THREAD_TIMEOUT_S)
    if failures:
        raise failures[0]
