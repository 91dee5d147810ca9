"""Ports that nobody gets by chance."""

import socket

import pytest

from node.operations import ports


def test_ports_differ_are_free_and_lie_below_those_of_outgoing_connections() -> None:
    found = ports.free_ports(8)
    assert len(set(found)) == 8
    assert all(ports.LOWEST <= port < ports.HIGHEST for port in found)
    for port in found:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_a_port_in_use_is_passed_over_and_too_few_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        (port,) = ports.free_ports(1)
        server.bind(("127.0.0.1", port))
        monkeypatch.setattr(ports, "LOWEST", port)
        monkeypatch.setattr(ports, "HIGHEST", port + 1)
        with pytest.raises(OSError, match="are free"):
            ports.free_ports(1)
