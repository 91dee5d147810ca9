"""What a process that meets a stranger's code stands on, and what a killed node leaves of it."""

import tempfile
from pathlib import Path

import pytest

from node.execution.processes import open_sandbox_process


def contents(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def working_folder(pid: int) -> Path:
    return Path(f"/proc/{pid}/cwd").readlink()


async def test_its_working_folder_is_gone_so_a_killed_node_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with open_sandbox_process("runner", memory_bytes=256 << 20, cpu_s=0) as process:
        stands_in = working_folder(process.pid)
        assert stands_in.parent == tmp_path
        assert stands_in.name.endswith(" (deleted)")
        assert contents(tmp_path) == []
        assert process.is_running()
