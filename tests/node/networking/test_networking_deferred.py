"""What importing the network loads, each time in a process of its own: this one may have loaded anything."""

import subprocess
import sys

BULK = ("aiohttp", "requests", "zeroconf", "websockets", "libp2p.transport.manager", "libp2p.host.basic_host")


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_network_loads_nothing_of_the_transports_that_it_does_not_use() -> None:
    program = f"""
import sys
import node.networking.network
print([name for name in {BULK!r} if name in sys.modules])
"""
    assert run(program) == "[]"


def test_whoever_looks_at_every_module_loads_nothing_either() -> None:
    program = f"""
import sys
import node.networking.network
for module in list(sys.modules.values()):
    getattr(module, "__warningregistry__", None)
print([name for name in {BULK!r} if name in sys.modules])
"""
    assert run(program) == "[]"


def test_the_rest_of_the_library_is_there_for_who_asks() -> None:
    program = """
import node.networking.network
import libp2p, libp2p.transport
from libp2p import new_host
print(new_host.__module__, libp2p.transport.TransportManager.__module__, "new_host" in vars(libp2p))
"""
    assert run(program) == "libp2p libp2p.transport.manager True"


def test_a_package_that_is_loaded_already_is_left_alone() -> None:
    program = """
import warnings
warnings.simplefilter("ignore")
import libp2p
before = libp2p.new_host
import node.networking.network
print(libp2p.new_host is before)
"""
    assert run(program) == "True"
