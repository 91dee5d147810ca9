"""The barriers hold: what a worker that was taken over can still do, tried in a process of its own."""

import subprocess
import sys

import pytest

ATTEMPTS = {
    "open a file": "open('/etc/passwd')",
    "create a file": "open('/tmp/stoa-escape', 'w')",
    "list a folder": "os.listdir('/')",
    "open a socket": "socket.socket()",
    "run a program": "os.execv('/bin/true', ['true'])",
    "fork": "subprocess.Popen(['/bin/true'])",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "take 200 MiB": "bytearray(200 << 20)",
}
SCRIPT = """
import os, socket, subprocess, sys
sys.path.insert(0, sys.argv[1])
from node.execution.confinement import confine, limit_memory
limit_memory(100 << 20)
barriers = confine()
print(*barriers, flush=True)
if not {"landlock", "seccomp"} <= set(barriers):
    sys.exit(9)
try:
    %s
except (OSError, MemoryError) as error:
    print(type(error).__name__, flush=True)
    os._exit(0)
os._exit(1)
"""


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_worker_that_was_taken_over_can_not(attempt: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT % ATTEMPTS[attempt], "."], capture_output=True, check=False, timeout=60
    )
    if ended.returncode == 9:
        pytest.skip("this kernel has no Landlock or no seccomp")
    assert (ended.returncode, ended.stderr) == (0, b"")
