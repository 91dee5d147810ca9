"""Host calls against a hostile guest: no pointer reaches outside its memory, no path outside its tree."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.execution.errors import InvalidJob
from node.execution.wasi.abi import MODULES, PREVIEW0, PREVIEW1, SIGNATURES, Errno, WasiError
from node.execution.wasi.calls import host_calls
from node.execution.wasi.guest import (
    CLOCK_STEP_NS,
    MAX_OPEN_FILES,
    ROOT_FD,
    Guest,
    GuestExit,
    OpenDirectory,
    OpenFile,
    OpenSink,
    OutOfFuel,
)
from node.execution.wasi.memory import GuestMemory
from node.execution.wasi.sinks import Sink, SinkFull
from node.execution.wasi.tree import DirectoryNode, FileNode, build_tree, check_guest_paths, resolve
from protocol.task.outcome import Outcome

MEMORY_BYTES = 4096
CANARY = b"\xa5" * 4096
FILES = (("/data/a.txt", b"first file"), ("/data/deep/b.bin", bytes(range(256)) * 20), ("/c", b""))
# Most arguments are pointers: aim at where a structure of each size in use just fits, and where it no longer does.
SIZES = (0, 1, 4, 8, 24, 32, 48, 56, 64)
NEAR_THE_END = st.sampled_from([MEMORY_BYTES - size + over for size in SIZES for over in (0, 1)])
EDGES = st.sampled_from([0, 1, 3, 4, 8, 64, 2**31 - 1, 2**31, 2**32 - MEMORY_BYTES, 2**32 - 4, 2**32 - 1])
U32 = NEAR_THE_END | NEAR_THE_END | EDGES | st.integers(0, 300)
U64 = st.sampled_from([0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)


@dataclass
class Rig:
    """A guest whose memory is ours, with canaries on both sides."""

    folder: Path
    fuel: int = 10**12
    buffer: ctypes.Array[ctypes.c_char] = field(init=False)
    guest: Guest = field(init=False)
    handles: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(CANARY + bytes(MEMORY_BYTES) + CANARY, MEMORY_BYTES + 2 * len(CANARY))
        for index, (_, data) in enumerate(FILES):
            path = self.folder / str(index)
            path.write_bytes(data)
            self.handles.append(os.open(path, os.O_RDONLY))
        for name in ("output", "logs"):
            self.handles.append(os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        root = build_tree([(path, len(data)) for path, data in FILES])
        self.guest = Guest(
            args=(b"task", b"--flag"),
            env=(b"A=1",),
            clock_s=1_700_000_000,
            seed=b"\7" * 32,
            fds={
                0: OpenFile(node=FileNode(inode=0, index=-1, size=10), host_fd=self.handles[0]),
                1: OpenSink(Sink(self.handles[3], limit=10_000, full=Outcome.OUTPUT_LIMIT)),
                2: OpenSink(Sink(self.handles[4], limit=10_000, full=Outcome.LOG_LIMIT)),
                ROOT_FD: OpenDirectory(node=root, preopen=b"/"),
            },
            file_fds=tuple(self.handles[:3]),
            get_fuel=lambda: self.fuel,
            set_fuel=self._set_fuel,
            memory=GuestMemory(ctypes.addressof(self.buffer) + len(CANARY), MEMORY_BYTES),
        )

    def _set_fuel(self, fuel: int) -> None:
        assert fuel >= 0
        self.fuel = fuel

    def call(self, name: str, *arguments: int, snapshot: str = PREVIEW1) -> Errno:
        try:
            host_calls(snapshot)[name](self.guest, *arguments)
        except WasiError as error:
            return error.errno
        return Errno.SUCCESS

    def put(self, at: int, data: bytes) -> None:
        self.guest.memory.write(at, data)

    def get(self, at: int, length: int) -> bytes:
        return self.guest.memory.read(at, length)

    def get_int(self, at: int, length: int = 4) -> int:
        return int.from_bytes(self.get(at, length), "little")

    def open(self, path: bytes, *, oflags: int = 0, rights: int = 2, fd: int = ROOT_FD) -> Errno:
        self.put(1000, path)
        return self.call("path_open", fd, 0, 1000, len(path), oflags, rights, 0, 0, 900)

    def assert_canaries(self) -> None:
        raw = self.buffer.raw
        assert raw[: len(CANARY)] == CANARY
        assert raw[-len(CANARY) :] == CANARY

    def close(self) -> None:
        for handle in self.handles:
            os.close(handle)


@pytest.fixture
def rig(tmp_path: Path) -> Generator[Rig, None, None]:
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rig")


CALLS = [(snapshot, name) for snapshot in MODULES for name in SIGNATURES]


@pytest.mark.parametrize(("snapshot", "name"), CALLS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_arguments_reach_outside_the_guests_memory(
    snapshot: str, name: str, shared_folder: Path, data: st.DataObject
) -> None:
    rig = Rig(shared_folder)
    try:
        rig.put(0, data.draw(st.binary(max_size=200)))
        rig.open(b"data/deep/b.bin")
        fd = st.sampled_from([0, 1, 2, 3, 4, 5, 2**32 - 1])
        arguments = [data.draw(U64 if kind == "I" else U32) for kind in SIGNATURES[name]]
        if arguments and name.startswith(("fd_", "path_")):
            arguments[0] = data.draw(fd)
        with contextlib.suppress(GuestExit, OutOfFuel, SinkFull):
            rig.call(name, *arguments, snapshot=snapshot)
        rig.assert_canaries()
    finally:
        rig.close()


@pytest.mark.parametrize(("snapshot", "name"), CALLS)
def test_every_call_survives_pointers_that_would_be_negative(rig: Rig, snapshot: str, name: str) -> None:
    arguments = [2**64 - 1 if kind == "I" else 2**32 - 1 for kind in SIGNATURES[name]]
    if name == "proc_exit":
        with pytest.raises(GuestExit):
            rig.call(name, *arguments, snapshot=snapshot)
    elif name != "sched_yield":
        assert rig.call(name, *arguments, snapshot=snapshot) != Errno.SUCCESS
    rig.assert_canaries()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("args_get", (MEMORY_BYTES - 4, 0)),
        ("args_get", (0, MEMORY_BYTES - 4)),
        ("args_sizes_get", (0, MEMORY_BYTES - 3)),
        ("environ_get", (MEMORY_BYTES - 3, 0)),
        ("clock_time_get", (0, 0, MEMORY_BYTES - 7)),
        ("fd_fdstat_get", (0, MEMORY_BYTES - 23)),
        ("fd_filestat_get", (0, MEMORY_BYTES - 63)),
        ("fd_prestat_get", (ROOT_FD, MEMORY_BYTES - 7)),
        ("fd_prestat_dir_name", (ROOT_FD, MEMORY_BYTES, 1)),
        ("fd_read", (0, MEMORY_BYTES - 7, 1, 0)),
        ("fd_read", (0, 0, 0, MEMORY_BYTES - 3)),
        ("fd_write", (1, MEMORY_BYTES - 7, 1, 0)),
        ("fd_readdir", (ROOT_FD, MEMORY_BYTES - 9, 10, 0, 0)),
        ("fd_seek", (0, 0, 0, MEMORY_BYTES - 7)),
        ("fd_tell", (0, MEMORY_BYTES - 7)),
        ("path_open", (ROOT_FD, 0, MEMORY_BYTES - 2, 3, 0, 2, 0, 0, 0)),
        ("path_filestat_get", (ROOT_FD, 0, MEMORY_BYTES - 2, 3, 0)),
        ("poll_oneoff", (MEMORY_BYTES - 47, 0, 1, 100)),
        ("poll_oneoff", (0, MEMORY_BYTES - 31, 1, 100)),
        ("random_get", (MEMORY_BYTES - 9, 10)),
        ("random_get", (0, 2**32 - 1)),
    ],
)
def test_one_byte_too_far_is_a_fault(rig: Rig, name: str, arguments: tuple[int, ...]) -> None:
    before = rig.buffer.raw
    assert rig.call(name, *arguments) == Errno.FAULT
    assert rig.buffer.raw[: len(CANARY) + MEMORY_BYTES - 64] == before[: len(CANARY) + MEMORY_BYTES - 64]
    rig.assert_canaries()


def test_a_vector_that_points_outside_faults_before_anything_is_written(rig: Rig) -> None:
    rig.put(0, (100).to_bytes(4, "little") + (5).to_bytes(4, "little"))
    rig.put(8, (MEMORY_BYTES - 4).to_bytes(4, "little") + (5).to_bytes(4, "little"))
    assert rig.call("fd_write", 1, 0, 2, 50) == Errno.FAULT
    assert (rig.folder / "output").read_bytes() == b""


@pytest.mark.parametrize(
    ("path", "errno"),
    [
        (b"data/a.txt", Errno.SUCCESS),
        (b"./data//deep/../a.txt", Errno.SUCCESS),
        (b"data", Errno.SUCCESS),
        (b".", Errno.SUCCESS),
        (b"..", Errno.NOTCAPABLE),
        (b"data/../..", Errno.NOTCAPABLE),
        (b"data/../../etc/passwd", Errno.NOTCAPABLE),
        (b"/etc/passwd", Errno.NOTCAPABLE),
        (b"/", Errno.NOTCAPABLE),
        (b"etc/passwd", Errno.NOENT),
        (b"", Errno.NOENT),
        (b"data/a.txt/", Errno.NOTDIR),
        (b"data/a.txt/..", Errno.NOTDIR),
        (b"data/a.txt\0.png", Errno.INVAL),
        (b"data/\xff", Errno.ILSEQ),
        (b"x" * 2500, Errno.NOENT),
    ],
)
def test_a_path_leads_into_the_tree_or_nowhere(rig: Rig, path: bytes, errno: Errno) -> None:
    assert rig.open(path) == errno


def test_a_path_longer_than_any_can_be_is_refused_before_it_is_read(rig: Rig) -> None:
    assert rig.call("path_open", ROOT_FD, 0, 0, 2**32 - 1, 0, 2, 0, 0, 900) == Errno.NAMETOOLONG


def test_a_folder_that_was_opened_confines_what_is_opened_in_it(rig: Rig) -> None:
    assert rig.open(b"data/deep") == Errno.SUCCESS
    deep = rig.get_int(900)
    assert rig.open(b"b.bin", fd=deep) == Errno.SUCCESS
    assert rig.open(b"../a.txt", fd=deep) == Errno.NOTCAPABLE


@pytest.mark.parametrize(
    ("path", "oflags", "rights", "errno"),
    [
        (b"new", 1, 2, Errno.ROFS),
        (b"c", 1, 2, Errno.SUCCESS),
        (b"c", 1 | 4, 2, Errno.EXIST),
        (b"c", 8, 2, Errno.ROFS),
        (b"c", 0, 2 | 64, Errno.ROFS),
        (b"data", 0, 64, Errno.ISDIR),
        (b"c", 2, 2, Errno.NOTDIR),
    ],
)
def test_nothing_can_be_opened_for_writing(rig: Rig, path: bytes, oflags: int, rights: int, errno: Errno) -> None:
    assert rig.open(path, oflags=oflags, rights=rights) == errno


def test_a_file_is_read_seeked_and_read_at_an_offset(rig: Rig) -> None:
    assert rig.open(b"data/deep/b.bin") == Errno.SUCCESS
    fd = rig.get_int(900)
    rig.put(0, (100).to_bytes(4, "little") + (3).to_bytes(4, "little"))
    rig.put(8, (200).to_bytes(4, "little") + (4).to_bytes(4, "little"))
    assert rig.call("fd_read", fd, 0, 2, 50) == Errno.SUCCESS
    assert (rig.get_int(50), rig.get(100, 3), rig.get(200, 4)) == (7, b"\0\1\2", b"\3\4\5\6")
    assert rig.call("fd_seek", fd, 2**64 - 2, 2, 60) == Errno.SUCCESS  # two before the end
    assert rig.get_int(60, 8) == 5118
    assert rig.call("fd_read", fd, 0, 2, 50) == Errno.SUCCESS
    assert rig.get_int(50) == 2
    assert rig.call("fd_read", fd, 0, 2, 50) == Errno.SUCCESS
    assert rig.get_int(50) == 0
    assert rig.call("fd_pread", fd, 0, 1, 10, 50) == Errno.SUCCESS
    assert rig.get(100, 3) == b"\x0a\x0b\x0c"
    assert rig.call("fd_tell", fd, 60) == Errno.SUCCESS
    assert rig.get_int(60, 8) == 5120
    assert rig.call("fd_seek", fd, 2**64 - 1, 0, 60) == Errno.INVAL
    assert rig.call("fd_pread", fd, 0, 1, 2**64 - 1, 50) == Errno.SUCCESS
    assert rig.get_int(50) == 0


def test_the_older_snapshot_numbers_whence_differently_and_has_a_shorter_filestat(rig: Rig) -> None:
    rig.open(b"data/deep/b.bin")
    fd = rig.get_int(900)
    assert rig.call("fd_seek", fd, 5, 2, 60, snapshot=PREVIEW0) == Errno.SUCCESS  # 2 is "set" there
    assert rig.get_int(60, 8) == 5
    rig.put(300, b"\xee" * 64)
    assert rig.call("fd_filestat_get", fd, 300, snapshot=PREVIEW0) == Errno.SUCCESS
    assert rig.get_int(324, 8) == 5120
    assert rig.get(356, 8) == b"\xee" * 8
    assert rig.call("fd_filestat_get", fd, 300) == Errno.SUCCESS
    assert rig.get_int(332, 8) == 5120


def list_folder(rig: Rig, fd: int, room: int) -> list[tuple[str, int, int]]:
    """List a folder the way wasi-libc does: entry by entry, buffer by buffer."""
    found: list[tuple[str, int, int]] = []
    cookie = 0
    while True:
        assert rig.call("fd_readdir", fd, 2000, room, cookie, 60) == Errno.SUCCESS
        used = rig.get_int(60)
        data = rig.get(2000, used)
        at = 0
        while at + 24 <= used:
            length = int.from_bytes(data[at + 16 : at + 20], "little")
            if at + 24 + length > used:
                break
            name = data[at + 24 : at + 24 + length].decode()
            found.append((name, int.from_bytes(data[at + 8 : at + 16], "little"), data[at + 20]))
            cookie = int.from_bytes(data[at : at + 8], "little")
            at += 24 + length
        if used < room:
            return found
        assert at, "the buffer is too small for one entry"


@pytest.mark.parametrize("room", [32, 33, 60, 100, 1000])
def test_a_folder_lists_the_same_entries_whatever_the_buffer(rig: Rig, room: int) -> None:
    assert list_folder(rig, ROOT_FD, room) == [(".", 1, 3), ("..", 1, 3), ("c", 2, 4), ("data", 3, 3)]


def test_descriptors_are_the_lowest_free_numbers_and_run_out(rig: Rig) -> None:
    assert rig.call("fd_close", 0) == Errno.SUCCESS
    assert rig.open(b"c") == Errno.SUCCESS
    assert rig.get_int(900) == 0
    for _ in range(MAX_OPEN_FILES - 4):
        assert rig.open(b"c") == Errno.SUCCESS
    assert rig.open(b"c") == Errno.MFILE
    assert rig.call("fd_renumber", 0, 9) == Errno.SUCCESS
    assert rig.call("fd_close", 0) == Errno.BADF


def test_the_clock_moves_with_each_look_and_each_sleep_and_with_nothing_else(rig: Rig) -> None:
    start = 1_700_000_000 * 10**9
    rig.call("clock_time_get", 0, 0, 0)
    assert rig.get_int(0, 8) == start
    rig.call("clock_time_get", 0, 0, 0)
    assert rig.get_int(0, 8) == start + CLOCK_STEP_NS
    sleep = bytes(8) + b"\0" + bytes(7) + (1).to_bytes(8, "little") + (5 * 10**9).to_bytes(8, "little") + bytes(16)
    rig.put(100, sleep)
    assert rig.call("poll_oneoff", 100, 200, 1, 300) == Errno.SUCCESS
    assert rig.get_int(300) == 1
    rig.call("clock_time_get", 1, 0, 0)
    assert rig.get_int(0, 8) == 5 * 10**9 + 2 * CLOCK_STEP_NS
    assert rig.call("clock_time_get", 4, 0, 0) == Errno.INVAL


def test_an_absolute_sleep_ends_at_its_time_on_either_clock(rig: Rig) -> None:
    for clock, base in ((0, 1_700_000_000 * 10**9), (1, 0)):
        target = base + rig.guest.elapsed_ns + 777
        timeout = target.to_bytes(8, "little") + bytes(8) + (1).to_bytes(2, "little") + bytes(6)
        for snapshot, middle in ((PREVIEW1, b""), (PREVIEW0, bytes(8))):
            rig.put(100, bytes(8) + b"\0" + bytes(7) + middle + clock.to_bytes(4, "little") + bytes(4) + timeout)
            assert rig.call("poll_oneoff", 100, 200, 1, 300, snapshot=snapshot) == Errno.SUCCESS
            assert rig.guest.elapsed_ns == target - base


def test_a_file_is_ready_at_once_so_the_clock_stands_still(rig: Rig) -> None:
    sleep = bytes(8) + b"\0" + bytes(7) + bytes(8) + (9**9).to_bytes(8, "little") + bytes(16)
    read = (42).to_bytes(8, "little") + b"\1" + bytes(7) + bytes(32)
    rig.put(100, sleep + read)
    assert rig.call("poll_oneoff", 100, 300, 2, 60) == Errno.SUCCESS
    assert (rig.get_int(60), rig.get_int(300, 8), rig.get_int(316, 8)) == (1, 42, 10)
    assert rig.guest.elapsed_ns == 0


def test_randomness_is_one_stream_of_the_seed_however_it_is_asked_for(rig: Rig) -> None:
    rig.call("random_get", 0, 5)
    rig.call("random_get", 5, 59)
    assert rig.get(0, 64).hex() == (
        "ce37995f0c255b92aad93299486391bfddb78139f9c73c6e4b957353612db0723cc77fd035d830da7e89280401db22afae9bdf23ed0f1ba35620030cb1efc97c"
    )
    other = Guest(
        args=(), env=(), clock_s=0, seed=b"\x08" * 32, fds={}, file_fds=(), get_fuel=lambda: 0, set_fuel=lambda _: None
    )
    assert other.random(64) != rig.get(0, 64)


def test_a_call_that_costs_more_than_is_left_takes_all_and_does_nothing(rig: Rig) -> None:
    rig.fuel = 4 * 100 - 1
    with pytest.raises(OutOfFuel):
        rig.call("random_get", 0, 100)
    assert (rig.fuel, rig.get(0, 100)) == (0, bytes(100))
    rig.fuel = 4 * 100
    assert rig.call("random_get", 0, 100) == Errno.SUCCESS
    assert rig.fuel == 0


PATHS = ["/a", "/a/b", "/deep/er/file", "/with space", "/\u00fcber.txt", "/" + "x" * 255]


@pytest.mark.parametrize(
    "paths",
    [
        ["relative"],
        [""],
        ["/"],
        ["/a/"],
        ["//a"],
        ["/a/../b"],
        ["/./a"],
        ["/a\0b"],
        ["/" + "x" * 256],
        ["/x" * 2049],
        ["/\udcff"],
        ["/a", "/a"],
        ["/a", "/a/b"],
        ["/a/b/c", "/a/b"],
    ],
)
def test_a_hostile_guest_path_is_refused(paths: list[str]) -> None:
    with pytest.raises(InvalidJob):
        check_guest_paths(paths)


@given(st.permutations(PATHS[1:]))
def test_the_tree_does_not_depend_on_the_order_of_the_files(paths: list[str]) -> None:
    def shape(node: DirectoryNode | FileNode) -> object:
        if isinstance(node, FileNode):
            return (node.inode, node.size)
        return (node.inode, [(name, shape(child)) for name, child in node.children.items()])

    sizes: Callable[[list[str]], list[tuple[str, int]]] = lambda names: [(name, len(name)) for name in names]  # noqa: E731
    check_guest_paths(paths)
    assert shape(build_tree(sizes(paths))) == shape(build_tree(sizes(sorted(paths))))
    for path in paths:
        found = resolve(build_tree(sizes(paths)), path[1:].encode())
        assert isinstance(found, FileNode)
        assert paths[found.index] == path
