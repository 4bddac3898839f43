"""A server that cannot start says why (wrong use of the command line: `tests/unit/ops/test_cli.py`)."""

import socket
from pathlib import Path

import pytest

from support.server import free_port, run, serving


@pytest.mark.parametrize("port", ["--studio-port", "--audience-port"])
def test_a_port_in_use_is_named(tmp_path: Path, port: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        other = {"--studio-port": "--audience-port", "--audience-port": "--studio-port"}[port]
        done = run("serve", "--data", str(tmp_path), port, str(number), other, str(free_port()))
    assert done.returncode == 3, done.stderr
    assert f"Port {number} is in use" in done.stderr


def test_a_second_server_on_one_folder_is_refused_although_its_ports_are_free(tmp_path: Path) -> None:
    with serving(tmp_path):
        ports = ["--studio-port", str(free_port()), "--audience-port", str(free_port())]
        done = run("serve", "--data", str(tmp_path), *ports)
    assert done.returncode == 3, done.stderr
    assert "Another Rostra is serving" in done.stderr


def test_a_folder_that_cannot_be_written_is_named() -> None:
    done = run("serve", "--data", "/sys/rostra", "--studio-port", str(free_port()))
    assert done.returncode == 3, done.stderr
    assert "/sys/rostra" in done.stderr
    assert "cannot be written" in done.stderr
