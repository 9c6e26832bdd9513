"""No network: the suite's guard works, and importing every module makes no attempt."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.project import module_names

# A name reserved for documentation, and an address reserved for it (RFC 2606, RFC 5737).
HOST, ADDRESS = "example.com", ("192.0.2.1", 80)


def connect() -> None:
    with socket.socket() as unconnected:
        unconnected.connect(ADDRESS)


def connect_ex() -> None:
    with socket.socket() as unconnected:
        unconnected.connect_ex(ADDRESS)


ATTEMPTS: dict[str, Callable[[], object]] = {
    "connect": connect,
    "connect_ex": connect_ex,
    "create_connection": lambda: socket.create_connection((HOST, 80)),
    "getaddrinfo": lambda: socket.getaddrinfo(HOST, 80),
    "gethostbyname": lambda: socket.gethostbyname(HOST),
    "urlopen": lambda: urllib.request.urlopen(f"http://{HOST}/"),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_suite_refuses(attempt: str, no_network: type[Exception]) -> None:
    with pytest.raises(no_network):
        ATTEMPTS[attempt]()


def test_sockets_of_this_machine_work() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"hello")
        assert right.recv(5) == b"hello"


# Interpreter-wide: an audit hook also sees what C code asks of the socket module.
IMPORT_GUARDED = """
import importlib, json, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise RuntimeError(f"{event} {arguments}")
sys.addaudithook(refuse)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
"""


def test_imports_make_no_attempt(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORT_GUARDED, json.dumps(module_names())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
