"""The numbers of WASI preview 1, as far as they are used here.

Source: WebAssembly/WASI, `legacy/preview1/witx`. `wasi_unstable` is the snapshot before it (`legacy/preview0`): the
same calls, with another order of `whence`, a shorter `filestat` and a longer `subscription`.
"""

from enum import IntEnum, unique
from typing import Final

PREVIEW1: Final = "wasi_snapshot_preview1"
PREVIEW0: Final = "wasi_unstable"
MODULES: Final = (PREVIEW1, PREVIEW0)


@unique
class Errno(IntEnum):
    """Error numbers that the host calls return."""

    SUCCESS = 0
    BADF = 8
    EXIST = 20
    FAULT = 21
    ILSEQ = 25
    INVAL = 28
    ISDIR = 31
    MFILE = 33
    NAMETOOLONG = 37
    NOENT = 44
    NOSYS = 52
    NOTDIR = 54
    NOTSUP = 58
    OVERFLOW = 61
    ROFS = 69
    SPIPE = 70
    NOTCAPABLE = 76


class WasiError(Exception):
    """Ends a host call with an error number that the guest sees."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno.name)
        self.errno = errno


# One letter a parameter: i is 32 bits, I is 64. All return an error number, but proc_exit and proc_raise as noted.
SIGNATURES: Final[dict[str, str]] = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_dir_name": "iii",
    "fd_prestat_get": "ii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "random_get": "ii",
    "sched_yield": "",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
NO_RESULT: Final = frozenset({"proc_exit"})

FILETYPE_UNKNOWN: Final = 0
FILETYPE_DIRECTORY: Final = 3
FILETYPE_REGULAR: Final = 4

OFLAG_CREAT: Final = 1
OFLAG_DIRECTORY: Final = 2
OFLAG_EXCL: Final = 4
OFLAG_TRUNC: Final = 8

RIGHT_FD_WRITE: Final = 1 << 6
# read, seek, fdstat_set_flags, tell, advise, filestat_get, poll
RIGHTS_FILE: Final = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 21 | 1 << 27
# All. Older C libraries refuse to even ask for what a folder's rights don't list, and so never learn that it is
# read-only: SQLite falls back to reading only when an open for writing fails.
RIGHTS_DIRECTORY: Final = (1 << 29) - 1
RIGHTS_SINK: Final = RIGHT_FD_WRITE | 1 << 21 | 1 << 27

CLOCK_REALTIME: Final = 0
CLOCK_IDS: Final = range(4)
EVENT_CLOCK: Final = 0
EVENT_FD_READ: Final = 1
EVENT_FD_WRITE: Final = 2
