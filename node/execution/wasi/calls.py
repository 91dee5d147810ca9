"""Which function answers which host call, in both snapshots of WASI. What is not listed answers NOSYS."""

from collections.abc import Callable, Mapping
from typing import Final

from node.execution.wasi import file_calls, path_calls, process_calls
from node.execution.wasi.abi import PREVIEW0, PREVIEW1, SIGNATURES, Errno, WasiError
from node.execution.wasi.guest import Guest

Call = Callable[..., None]


def _unsupported(_guest: Guest, *_arguments: int) -> None:
    raise WasiError(Errno.NOSYS)


_COMMON: Final[Mapping[str, Call]] = {
    "args_get": process_calls.args_get,
    "args_sizes_get": process_calls.args_sizes_get,
    "clock_res_get": process_calls.clock_res_get,
    "clock_time_get": process_calls.clock_time_get,
    "environ_get": process_calls.environ_get,
    "environ_sizes_get": process_calls.environ_sizes_get,
    "fd_advise": file_calls.accept_on_open_fd,
    "fd_allocate": file_calls.refuse_read_only,
    "fd_close": file_calls.fd_close,
    "fd_datasync": file_calls.accept_on_open_fd,
    "fd_fdstat_get": file_calls.fd_fdstat_get,
    "fd_fdstat_set_flags": file_calls.fd_fdstat_set_flags,
    "fd_fdstat_set_rights": file_calls.accept_on_open_fd,
    "fd_filestat_set_size": file_calls.refuse_read_only,
    "fd_filestat_set_times": file_calls.refuse_read_only,
    "fd_pread": file_calls.fd_pread,
    "fd_prestat_dir_name": file_calls.fd_prestat_dir_name,
    "fd_prestat_get": file_calls.fd_prestat_get,
    "fd_pwrite": file_calls.fd_pwrite,
    "fd_read": file_calls.fd_read,
    "fd_readdir": file_calls.fd_readdir,
    "fd_renumber": file_calls.fd_renumber,
    "fd_sync": file_calls.accept_on_open_fd,
    "fd_tell": file_calls.fd_tell,
    "fd_write": file_calls.fd_write,
    "path_create_directory": file_calls.refuse_read_only,
    "path_filestat_set_times": file_calls.refuse_read_only,
    "path_link": file_calls.refuse_read_only,
    "path_open": path_calls.path_open,
    "path_readlink": path_calls.path_readlink,
    "path_remove_directory": file_calls.refuse_read_only,
    "path_rename": file_calls.refuse_read_only,
    "path_symlink": _unsupported,
    "path_unlink_file": file_calls.refuse_read_only,
    "proc_exit": process_calls.proc_exit,
    "random_get": process_calls.random_get,
    "sched_yield": process_calls.sched_yield,
}

_BY_SNAPSHOT: Final[Mapping[str, Mapping[str, Call]]] = {
    PREVIEW1: {
        "fd_filestat_get": file_calls.make_fd_filestat_get(wide=True),
        "fd_seek": file_calls.make_fd_seek(("set", "current", "end")),
        "path_filestat_get": path_calls.make_path_filestat_get(wide=True),
        "poll_oneoff": process_calls.make_poll_oneoff(subscription_bytes=48, clock_at=24),
    },
    PREVIEW0: {
        "fd_filestat_get": file_calls.make_fd_filestat_get(wide=False),
        "fd_seek": file_calls.make_fd_seek(("current", "end", "set")),
        "path_filestat_get": path_calls.make_path_filestat_get(wide=False),
        "poll_oneoff": process_calls.make_poll_oneoff(subscription_bytes=56, clock_at=32),
    },
}


def host_calls(snapshot: str) -> dict[str, Call]:
    """Return every call of a snapshot by name."""
    known = {**_COMMON, **_BY_SNAPSHOT[snapshot]}
    return {name: known.get(name, _unsupported) for name in SIGNATURES}
