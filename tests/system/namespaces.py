"""An internet of network namespaces: two places in the middle, and two homes that only ever get to the middle.

    home (the seller) ── [router] ── middle (two relays, the chain) ── [router] ── cafe (the requester)

No packet leaves these namespaces: they are joined by veth pairs and to nothing else. With routers, home and cafe have
private addresses behind address translation, and the middle has no route to them. Without, they have addresses of
their own, and the middle passes nothing on. Either way neither can dial the other.
"""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from signal import SIGKILL
from typing import Final

FIRST: Final = "198.51.100.1"
SECOND: Final = "203.0.113.1"
"""Where the middle is: addresses of documentation, in two networks."""
PREFIX: Final = "stoa-test-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Names of the namespaces."""

    middle: str
    home: str
    cafe: str


def why_not(*, translated: bool) -> str | None:
    """Return why such namespaces can't be had here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip (iproute2) is not installed"
    if translated and shutil.which("nft") is None:
        return "nft (nftables) is not installed, so there is no address translation"
    trial = f"{PREFIX}{os.getpid()}-trial"
    made = subprocess.run(["ip", "netns", "add", trial], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", trial], capture_output=True, check=False)
    return None if made.returncode == 0 else f"no network namespace can be made here: {made.stderr.strip()}"


@contextmanager
def open_namespaces(*, translated: bool) -> Generator[Namespaces, None, None]:
    """Make them, and remove them with all that runs in them, whatever happens."""
    _remove_stale()
    mark = f"{PREFIX}{os.getpid()}"
    names = Namespaces(middle=f"{mark}-middle", home=f"{mark}-home", cafe=f"{mark}-cafe")
    routers = [f"{mark}-router1", f"{mark}-router2"] if translated else []
    every = [names.middle, names.home, names.cafe, *routers]
    try:
        for name in every:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for address in (FIRST, SECOND):
            _ip("-n", names.middle, "addr", "add", f"{address}/32", "dev", "lo")
        for index, inner in enumerate((names.home, names.cafe)):
            outer = routers[index] if routers else inner
            ours, theirs = f"192.0.2.{4 * index + 1}", f"192.0.2.{4 * index + 2}"
            _join(names.middle, f"side{index}", f"{ours}/30", outer, "wan", f"{theirs}/30")
            _ip("-n", outer, "route", "add", "default", "via", ours)
            if routers:
                _join(outer, "lan", f"10.77.{index}.1/24", inner, "eth", f"10.77.{index}.2/24")
                _ip("-n", inner, "route", "add", "default", "via", f"10.77.{index}.1")
                _forward(outer, on=True)
                _run("ip", "netns", "exec", outer, "nft", _TRANSLATE)
        _forward(names.middle, on=translated)
        yield names
    finally:
        for name in every:
            _remove(name)


_TRANSLATE: Final = (
    "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100 ; }; "
    'add rule ip nat out oifname "wan" masquerade'
)


def _join(one: str, one_link: str, one_address: str, other: str, other_link: str, other_address: str) -> None:
    _ip("-n", one, "link", "add", one_link, "type", "veth", "peer", "name", other_link, "netns", other)
    for name, link, address in ((one, one_link, one_address), (other, other_link, other_address)):
        _ip("-n", name, "addr", "add", address, "dev", link)
        _ip("-n", name, "link", "set", link, "up")


def _forward(name: str, *, on: bool) -> None:
    _run("ip", "netns", "exec", name, "sh", "-c", f"echo {int(on)} > /proc/sys/net/ipv4/ip_forward")


def _remove(name: str) -> None:
    """Kill what runs in a namespace that we have made, and remove it."""
    inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in inside.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), SIGKILL)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _remove_stale() -> None:
    """Remove what a test run left behind that was itself killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        name = line.split()[0] if line.split() else ""
        owner = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):  # noqa: PTH110
            _remove(name)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
