"""Host calls about the process itself: arguments, environment, clock, randomness, waiting, exit."""

from collections.abc import Callable
from typing import Final, NoReturn

from node.execution.wasi.abi import (
    CLOCK_IDS,
    CLOCK_REALTIME,
    EVENT_CLOCK,
    EVENT_FD_READ,
    EVENT_FD_WRITE,
    Errno,
    WasiError,
)
from node.execution.wasi.guest import CLOCK_STEP_NS, NANOSECONDS, Guest, GuestExit, OpenFile

MAX_SUBSCRIPTIONS: Final = 1024
EVENT_BYTES: Final = 32
RANDOM_CHUNK: Final = 1 << 20


def _strings_sizes(guest: Guest, strings: tuple[bytes, ...], count_at: int, size_at: int) -> None:
    guest.memory.check(size_at, 4)
    guest.memory.write_u32(count_at, len(strings))
    guest.memory.write_u32(size_at, sum(len(each) + 1 for each in strings))


def _strings_get(guest: Guest, strings: tuple[bytes, ...], pointers_at: int, data_at: int) -> None:
    data = b"".join(each + b"\0" for each in strings)
    guest.charge_items(len(strings))
    guest.charge_bytes(len(data))
    guest.memory.check(data_at, len(data))
    pointers = bytearray()
    position = data_at
    for each in strings:
        pointers += position.to_bytes(4, "little")
        position += len(each) + 1
    guest.memory.write(pointers_at, bytes(pointers))
    guest.memory.write(data_at, data)


def args_sizes_get(guest: Guest, count_at: int, size_at: int) -> None:
    """Say how many arguments there are and how many bytes they need."""
    _strings_sizes(guest, guest.args, count_at, size_at)


def args_get(guest: Guest, pointers_at: int, data_at: int) -> None:
    """Store the arguments, each with a NUL behind it, and pointers to them."""
    _strings_get(guest, guest.args, pointers_at, data_at)


def environ_sizes_get(guest: Guest, count_at: int, size_at: int) -> None:
    """Say how many variables there are and how many bytes they need."""
    _strings_sizes(guest, guest.env, count_at, size_at)


def environ_get(guest: Guest, pointers_at: int, data_at: int) -> None:
    """Store the environment like the arguments."""
    _strings_get(guest, guest.env, pointers_at, data_at)


def clock_res_get(guest: Guest, clock: int, at: int) -> None:
    """State the step by which the clock moves."""
    _check_clock(clock)
    guest.memory.write_u64(at, CLOCK_STEP_NS)


def clock_time_get(guest: Guest, clock: int, _precision: int, at: int) -> None:
    """Tell the guest's own time."""
    _check_clock(clock)
    guest.memory.check(at, 8)
    guest.memory.write_u64(at, guest.now_ns(realtime=clock == CLOCK_REALTIME))


def _check_clock(clock: int) -> None:
    if clock not in CLOCK_IDS:
        raise WasiError(Errno.INVAL)


def random_get(guest: Guest, at: int, count: int) -> None:
    """Store the next bytes of the task's random stream."""
    guest.memory.check(at, count)
    guest.charge_bytes(count)
    for start in range(0, count, RANDOM_CHUNK):  # else a guest could ask the host for gigabytes
        guest.memory.write(at + start, guest.random(min(RANDOM_CHUNK, count - start)))


def sched_yield(_guest: Guest) -> None:
    """Do nothing: there is no other thread."""


def proc_exit(_guest: Guest, code: int) -> NoReturn:
    """End the run."""
    raise GuestExit(code)


def make_poll_oneoff(*, subscription_bytes: int, clock_at: int) -> Callable[[Guest, int, int, int, int], None]:
    """Return `poll_oneoff` for a snapshot's layout of a subscription.

    Args:
        subscription_bytes: Size of a subscription.
        clock_at: Where in it the timeout of a clock subscription stands; the flags stand 16 bytes behind.
    """

    def poll_oneoff(guest: Guest, subscriptions_at: int, events_at: int, count: int, stored_at: int) -> None:
        """Answer at once. Files are always ready; a sleep moves the guest's clock on and takes no real time."""
        if not 0 < count <= MAX_SUBSCRIPTIONS:
            raise WasiError(Errno.INVAL)
        guest.charge_items(count)
        guest.memory.check(events_at, count * EVENT_BYTES)
        guest.memory.check(stored_at, 4)
        raw = guest.memory.read(subscriptions_at, count * subscription_bytes)
        events: list[bytes] = []
        sleeps: list[tuple[int, bytes]] = []
        for start in range(0, len(raw), subscription_bytes):
            item = raw[start : start + subscription_bytes]
            if item[8] == EVENT_CLOCK:
                sleeps.append((_sleep_ns(guest, item, clock_at), item[:8]))
            elif item[8] in (EVENT_FD_READ, EVENT_FD_WRITE):
                events.append(_fd_event(guest, item))
            else:
                raise WasiError(Errno.INVAL)
        if sleeps and not events:
            shortest = min(duration for duration, _ in sleeps)
            guest.pass_ns(shortest)
            events = [_event(user, Errno.SUCCESS, EVENT_CLOCK) for duration, user in sleeps if duration == shortest]
        guest.memory.write(events_at, b"".join(events))
        guest.memory.write_u32(stored_at, len(events))

    return poll_oneoff


def _sleep_ns(guest: Guest, item: bytes, clock_at: int) -> int:
    timeout = int.from_bytes(item[clock_at : clock_at + 8], "little")
    absolute = item[clock_at + 16] & 1
    if not absolute:
        return timeout
    # Both snapshots put the clock's id at 16 or 24; the timeout follows 8 bytes behind it.
    realtime = int.from_bytes(item[clock_at - 8 : clock_at - 4], "little") == CLOCK_REALTIME
    now = guest.elapsed_ns + (guest.clock_s * NANOSECONDS if realtime else 0)
    return max(0, timeout - now)


def _fd_event(guest: Guest, item: bytes) -> bytes:
    number = int.from_bytes(item[16:20], "little")
    node = guest.fds.get(number)
    if node is None:
        return _event(item[:8], Errno.BADF, item[8])
    ready = node.node.size - node.offset if isinstance(node, OpenFile) else 0
    return _event(item[:8], Errno.SUCCESS, item[8], ready=max(0, ready))


def _event(user: bytes, errno: Errno, kind: int, *, ready: int = 0) -> bytes:
    return (
        user
        + errno.to_bytes(2, "little")
        + kind.to_bytes(1, "little")
        + bytes(5)
        + ready.to_bytes(8, "little")
        + bytes(8)
    )
