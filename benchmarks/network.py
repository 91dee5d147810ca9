"""Our network against js-libp2p: gossip, requests, blobs. Two processes each, Noise, Yamux and TCP over loopback.

python -m benchmarks.run --only network

Both pairs stay up all the time and take turns, so that what else the machine does meets both. CPU is of both processes
of a pair together: it does not depend on who else uses the machine.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure, Goal, Of, rated, timed

HERE: Final = Path(__file__).parent
MESSAGE_BYTES: Final = 300
WINDOW: Final = 64
MIB: Final = 2**20
JS: Final = "js-libp2p"
MESH_TIMEOUT_S: Final = 60.0


class PeerProcess:
    """A process that obeys lines of JSON."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address: str = self._answer()["address"]

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Give a command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the peer ended"
        answer = json.loads(line)
        assert "ok" in answer, answer["error"]
        return answer["ok"]

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Pair:
    """Two processes of one make, connected: `one` asks, `two` serves."""

    def __init__(self, command: list[str]) -> None:
        self.one, self.two = PeerProcess(command), PeerProcess(command)
        self.one("connect", address=self.two.address)
        for each in (self.one, self.two):
            each("subscribe")
        end = time.monotonic() + MESH_TIMEOUT_S
        while not (self.one("mesh") and self.two("mesh")):
            assert time.monotonic() < end, "the two do not gossip"
            time.sleep(0.1)

    def cpu(self) -> float:
        """Return the CPU time of both, seconds."""
        return self.one("cpu") + self.two("cpu")

    def gossip(self, count: int, *, window: int) -> tuple[float, float, list[float]]:
        """Return messages a second, CPU microseconds a message, and each message's milliseconds."""
        self.two("expect", every=max(1, window // 8))
        before = self.cpu()
        seconds = self.one("gossip", count=count, size=MESSAGE_BYTES, window=window)
        return count / seconds, (self.cpu() - before) / count * 1e6, self.two("heard")


@contextmanager
def open_pairs() -> Generator[tuple[Pair, Pair]]:
    """Start our pair and the other."""
    pairs: list[Pair] = []
    try:
        pairs.append(Pair([sys.executable, "-m", "benchmarks.peers.ours"]))
        pairs.append(Pair(["node", str(HERE / "peers" / "js.mjs")]))
        yield pairs[0], pairs[1]
    finally:
        for pair in pairs:
            pair.one.kill()
            pair.two.kill()


def measure(*, quick: bool) -> list[Figure]:
    """Measure all."""
    rounds = 2 if quick else 7
    with open_pairs() as (ours, js):
        return [*gossip(ours, js, rounds), *requests(ours, js, rounds), *blobs(ours, js, rounds)]


def gossip(ours: Pair, js: Pair, rounds: int) -> list[Figure]:
    """Latency one at a time, and the rate with many under way."""
    alone: tuple[list[float], ...] = ([], [])
    rates: tuple[list[float], ...] = ([], [])
    costs: tuple[list[float], ...] = ([], [])
    for turn in range(rounds + 1):
        for index, pair in enumerate((ours, js)):
            _, _, latencies = pair.gossip(100, window=1)
            rate, cost, _ = pair.gossip(1536, window=WINDOW)
            if turn:  # the first warms up what compiles while it runs
                alone[index].extend(latencies)
                rates[index].append(rate)
                costs[index].append(cost)
    return [
        timed("gossip, one message at a time", "ms", alone[0], JS, alone[1]),
        rated("gossip, messages of 300 bytes", "/s", rates[0], JS, rates[1], goal=Goal(of=Of.RATIO, least=0.6)),
        rated("gossip, CPU of both sides", "us/message", costs[0], JS, costs[1]),
    ]


def requests(ours: Pair, js: Pair, rounds: int) -> list[Figure]:
    """Round trips of a small request."""
    kinds = ("calls", "reused", "fresh")
    taken: dict[str, tuple[list[float], list[float]]] = {kind: ([], []) for kind in kinds}
    for turn in range(rounds + 1):
        for fresh in (False, True):
            for index, pair in enumerate((ours, js)):
                samples = pair.one("requests", count=100, size=MESSAGE_BYTES, fresh=fresh)
                taken["fresh" if fresh else "reused"][index].extend(samples if turn else ())
        calls = ours.one("calls", count=100, size=MESSAGE_BYTES)
        taken["calls"][0].extend(calls if turn else ())
    goal = Goal(of=Of.RATIO, most=2)
    reused = taken["reused"]
    return [
        timed("request, our protocol", "ms", taken["calls"][0], JS + ", one stream", reused[1], goal=goal),
        timed("echo on one stream", "ms", reused[0], JS, reused[1], goal=goal),
        timed("echo on a new stream each", "ms", taken["fresh"][0], JS, taken["fresh"][1], goal=goal),
    ]


def blobs(ours: Pair, js: Pair, rounds: int) -> list[Figure]:
    """Bytes moved: checked blobs and bare streams of ours, bare streams of js-libp2p, and a plain socket."""
    size, many = 32 * MIB, 4
    digests = ours.two("hold", seeds=list(range(many)), size=size)
    speeds: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}

    def note(name: str, pair: Pair | None, count: int, seconds: float, before: float) -> None:
        if pair is not None:
            costs.setdefault(name, []).append((pair.cpu() - before) * 1e3 / (size * count / 1e6))
        speeds.setdefault(name, []).append(size * count / 1e6 / seconds)

    for turn in range(rounds + 1):
        if turn == 1:
            speeds.clear()
            costs.clear()
        for count in (1, many):
            for name, pair in (("ours", ours), ("js", js)):
                before = pair.cpu()
                note(f"{name} {count}", pair, count, pair.one("bytes", size=size, streams=count), before)
            before = ours.cpu()
            note(f"blob {count}", ours, count, ours.one("blobs", digests=digests[:count], size=size), before)
        note("plain", None, 1, plainly(size), 0.0)
    goal = Goal(of=Of.RATIO, least=0.8)
    return [
        rated("blob, 4 at once, checked", "MB/s", speeds["blob 4"], JS, speeds["js 4"], goal=goal),
        rated("blob, one, checked", "MB/s", speeds["blob 1"], JS, speeds["js 1"]),
        rated("bare streams, 4", "MB/s", speeds["ours 4"], JS, speeds["js 4"]),
        rated("bare stream, one", "MB/s", speeds["ours 1"], JS, speeds["js 1"]),
        rated("blob, 4 at once, CPU of both sides", "ms/MB", costs["blob 4"], JS, costs["js 4"]),
        rated("blob, 4 at once, beside a plain socket", "MB/s", speeds["blob 4"], "plain socket", speeds["plain"]),
    ]


def plainly(size: int) -> float:
    """Move so many bytes over a plain socket between two processes; return the seconds."""
    program = (
        "import socket, sys\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "left = int(sys.argv[2])\npiece = bytes(65536)\n"
        "while left: left -= s.send(piece[:left])\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sender = subprocess.Popen([sys.executable, "-c", program, str(port), str(size)])
        connection, _ = server.accept()
        with connection:
            started, got = time.monotonic(), 0
            while chunk := connection.recv(65536):
                got += len(chunk)
            taken = time.monotonic() - started
        sender.wait()
    assert got == size
    return taken
