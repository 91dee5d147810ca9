"""What a worker process takes from itself before it meets a stranger's code, in case the sandbox has a hole.

Always: limits on memory and open files, no core files, no new privileges, no debugger. Where the kernel allows it:
Landlock (no file can be opened, no TCP port reached) and a seccomp filter (no new program, no socket, none of the
rarely used calls in which kernels have holes). A worker says which of them hold; the node shows it.
"""

import ctypes
import math
import os
import platform
import resource
import struct
from typing import Final

PR_SET_DUMPABLE: Final = 4
PR_SET_SECCOMP: Final = 22
PR_SET_NO_NEW_PRIVS: Final = 38
SECCOMP_MODE_FILTER: Final = 2
LANDLOCK_CREATE_RULESET: Final = 444
LANDLOCK_RESTRICT_SELF: Final = 446
LANDLOCK_CREATE_RULESET_VERSION: Final = 1
# Access rights to files that each version of Landlock knows: all of them are taken.
LANDLOCK_FS_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
LANDLOCK_TCP_RIGHTS: Final = 3
MAX_DESCRIPTORS_OPEN: Final = 512
CPU_GRACE_S: Final = 5

_SECCOMP_ALLOW: Final = 0x7FFF0000
_SECCOMP_EPERM: Final = 0x00050001
_SECCOMP_KILL: Final = 0x80000000
_LOAD_ABS: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER_EQUAL: Final = 0x35
_RETURN: Final = 0x06
_X32_BIT: Final = 0x40000000

# (audit architecture, forbidden call numbers), in the same order for both: sockets; programs; other processes' memory;
# mounts and namespaces; kernel modules and reboot; keys, perf, open_by_handle, bpf, userfaultfd, io_uring; signals.
_FILTERS: Final[dict[str, tuple[int, tuple[int, ...]]]] = {
    "x86_64": (
        0xC000003E,
        (
            *(41, 42, 43, 49, 50, 53, 288),
            *(57, 58, 59, 322),
            *(101, 310, 311, 434, 438, 424),
            *(155, 161, 165, 166, 272, 308, 428, 429, 430, 431, 432, 433, 442),
            *(175, 176, 246, 313, 320, 169),
            *(
                248,
                249,
                250,
                298,
                304,
                321,
                323,
                425,
                426,
                427,
            ),
            *(62, 200, 234, 129, 297),
        ),
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(198, 203, 202, 200, 201, 199, 242),
            *(221, 281),
            *(117, 270, 271, 434, 438, 424),
            *(41, 51, 40, 39, 97, 268, 428, 429, 430, 431, 432, 433, 442),
            *(105, 106, 104, 273, 294, 142),
            *(217, 218, 219, 241, 265, 280, 282, 425, 426, 427),
            *(129, 130, 131, 138, 240),
        ),
    ),
}


def limit_memory(writable_bytes: int) -> None:
    """Cap the process's private writable memory. Address space is not capped: a guest reserves 4 GiB of it."""
    _limit(resource.RLIMIT_DATA, writable_bytes)


def limit_cpu_from_now(seconds: float) -> None:
    """Let the kernel kill this process some time after `seconds` more of CPU, if nothing has ended the run by then."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + CPU_GRACE_S
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)  # kept: the next run's limit is higher
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def limit_cpu(seconds: int) -> None:
    """Let the kernel kill this process after `seconds` of CPU in all."""
    _limit(resource.RLIMIT_CPU, seconds)


def _limit(what: int, value: int) -> None:
    """Set a limit for good, unless whoever started the node has set a lower one."""
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def confine() -> tuple[str, ...]:
    """Give up all that a worker does not need. Call it last, when every module is imported.

    Returns:
        The barriers that hold, by name.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS_OPEN)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "can't give up new privileges")
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    barriers = ["rlimits", "no_new_privs"]
    if _landlock(libc):
        barriers.append("landlock")
    if _seccomp(libc):
        barriers.append("seccomp")
    return tuple(barriers)


def _landlock(libc: ctypes.CDLL) -> bool:
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return False
    files = LANDLOCK_FS_RIGHTS[min(version, max(LANDLOCK_FS_RIGHTS))]
    network = LANDLOCK_TCP_RIGHTS if version >= 4 else 0
    attributes = struct.pack("<QQ", files, network) if version >= 4 else struct.pack("<Q", files)
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        return bool(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _seccomp(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in _FILTERS:
        return False
    architecture, forbidden = _FILTERS[platform.machine()]
    program = _filter_program(architecture, forbidden)
    buffer = ctypes.create_string_buffer(b"".join(program))
    # struct sock_fprog: unsigned short length, padding, pointer
    header = struct.pack("<H6xQ", len(program), ctypes.addressof(buffer))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) == 0)


def _filter_program(architecture: int, forbidden: tuple[int, ...]) -> list[bytes]:
    def instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, operand)

    numbers = sorted(set(forbidden))
    to_deny = len(numbers)
    return [
        instruction(_LOAD_ABS, 4),  # the architecture: another one has other numbers
        instruction(_JUMP_EQUAL, architecture, 1, 0),
        instruction(_RETURN, _SECCOMP_KILL),
        instruction(_LOAD_ABS, 0),  # the number of the call
        instruction(_JUMP_GREATER_EQUAL, _X32_BIT, to_deny + 1, 0),
        *(instruction(_JUMP_EQUAL, number, to_deny - i, 0) for i, number in enumerate(numbers)),
        instruction(_RETURN, _SECCOMP_ALLOW),
        instruction(_RETURN, _SECCOMP_EPERM),
    ]
