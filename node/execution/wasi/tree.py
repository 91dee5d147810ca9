"""The guest's file system: a fixed, read-only tree whose leaves are host files, never copied and never listed.

Inodes and times follow from the tree alone, so every node shows the guest the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from node.execution.errors import InvalidJob
from node.execution.wasi.abi import Errno, WasiError

PATH_MAX: Final = 4096
NAME_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class FileNode:
    """A file: which of the job's files it is, and how large."""

    inode: int
    index: int
    size: int


@dataclass(slots=True)
class DirectoryNode:
    """A folder. `parent` of the root is the root itself."""

    inode: int
    parent: "DirectoryNode | None"
    children: "dict[str, Node]" = field(default_factory=dict[str, "Node"])  # filled in sorted order


Node: TypeAlias = FileNode | DirectoryNode


def check_guest_paths(paths: Iterable[str]) -> None:
    """Check the paths under which a task's files shall stand.

    Raises:
        InvalidJob: One is relative, not normal (`.`, `..`, `//`, a final `/`), too long, has a NUL or is not text,
            stands twice, or is a folder of another.
    """
    seen: set[str] = set()
    for path in paths:
        _check_shape(path)
        if path in seen:
            raise InvalidJob(f"two files at {path!r}")
        seen.add(path)
    for path in seen:
        parts = path.split("/")
        for end in range(2, len(parts)):
            if "/".join(parts[:end]) in seen:
                raise InvalidJob(f"{path!r} stands inside a file")


def _check_shape(path: str) -> None:
    try:
        raw = path.encode()
    except UnicodeEncodeError as error:
        raise InvalidJob(f"guest path {path!r} is not valid text") from error
    if not path.startswith("/") or len(raw) > PATH_MAX or "\0" in path:
        raise InvalidJob(f"guest path {path!r} must start with /, have no NUL and at most {PATH_MAX} bytes")
    for name in path[1:].split("/"):
        if name in ("", ".", "..") or len(name.encode()) > NAME_MAX:
            raise InvalidJob(f"guest path {path!r} has the component {name!r}; write it without detours")


def build_tree(files: Sequence[tuple[str, int]]) -> DirectoryNode:
    """Return the root of a tree of files given as (guest path, size), paths checked before.

    Inodes are 1 for the root and go up in the sorted order of paths.
    """
    root = DirectoryNode(inode=1, parent=None)
    inode = 1
    for path, index in sorted((path, index) for index, (path, _) in enumerate(files)):
        *folders, name = path[1:].split("/")
        here = root
        for folder in folders:
            inner = here.children.get(folder)
            if inner is None:
                inode += 1
                inner = here.children[folder] = DirectoryNode(inode=inode, parent=here)
            assert isinstance(inner, DirectoryNode), "check_guest_paths lets no file be a folder"
            here = inner
        inode += 1
        here.children[name] = FileNode(inode=inode, index=index, size=files[index][1])
    return root


def resolve(base: DirectoryNode, raw: bytes) -> Node:
    """Return what stands at a path that a guest gave, relative to the open folder `base`.

    Raises:
        WasiError: NAMETOOLONG, ILSEQ, NOTCAPABLE (absolute, or a way out of `base`), NOENT, NOTDIR.
    """
    trail: list[DirectoryNode] = []
    here: Node = base
    for name in _decode(raw).split("/"):
        if not isinstance(here, DirectoryNode):
            raise WasiError(Errno.NOTDIR)
        if name in ("", "."):
            continue
        if name == "..":
            if not trail:
                raise WasiError(Errno.NOTCAPABLE)  # the sandbox of WASI: no way above the folder one holds
            here = trail.pop()
            continue
        child = here.children.get(name)
        if child is None:
            raise WasiError(Errno.NOENT)
        trail.append(here)
        here = child
    return here


def _decode(raw: bytes) -> str:
    if len(raw) > PATH_MAX:
        raise WasiError(Errno.NAMETOOLONG)
    if b"\0" in raw:
        raise WasiError(Errno.INVAL)
    try:
        path = raw.decode()
    except UnicodeDecodeError as error:
        raise WasiError(Errno.ILSEQ) from error
    if not path:
        raise WasiError(Errno.NOENT)
    if path.startswith("/"):
        raise WasiError(Errno.NOTCAPABLE)
    return path
