"""What holds for the whole suite: no network, one copy of each module, repeatable random cases."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings

# Tests that count what runs natively want plans at once; tests/compiler/test_later.py has those that do not.
os.environ.setdefault("ADJIT_BACKGROUND", "0")

Golden = Callable[[str, str], None]
ROOT = Path(__file__).resolve().parent.parent

# Derandomised: a failure seen once is seen again by anyone who runs the same commit.
settings.register_profile("suite", derandomize=True, deadline=None, database=None, max_examples=50)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("ADJIT_HYPOTHESIS", "suite"))


class NetworkUse(Exception):
    """A test, or the code under test, tried to reach the network."""


def only_local(original: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    """`socket.connect` or `connect_ex` for sockets that are files of this machine; NetworkUse for all others."""

    def guarded(self: socket.socket, address: Any, /) -> Any:
        if self.family != getattr(socket, "AF_UNIX", None):
            raise NetworkUse(f"connect to {address}")
        return original(self, address)

    return guarded


def no_lookup(host: object, *_: object, **__: object) -> NoReturn:
    """In place of the functions that ask for a host's address."""
    raise NetworkUse(f"look up {host!r}")


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[type[NetworkUse]]:
    """Every attempt in this process to reach another machine raises NetworkUse, which the fixture gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", only_local(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", only_local(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", no_lookup)
        patch.setattr(socket, "gethostbyname", no_lookup)
        yield NetworkUse


@pytest.fixture(scope="module", autouse=True)
def nothing_is_taken_over() -> Iterator[None]:
    """After a file with classes of tensors, functions of the others go without their wrappers again."""
    yield
    overrides = sys.modules.get("adjit.overrides")
    if overrides is not None:
        overrides.deactivate()


@pytest.fixture(scope="session", autouse=True)
def one_copy_of_each_module() -> Iterator[None]:
    """After the last test no file of the four packages has been loaded under a name outside `adjit`."""
    yield
    strays = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or name == "adjit" or name.startswith("adjit."):
            continue
        path = Path(os.path.realpath(file))
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ("ir", "runtime", "compiler", "frontends"):
            strays.append(f"{name} from {path.relative_to(ROOT)}")
    assert not strays, f"loaded twice, outside adjit: {strays}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew from what the tests find")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden(name, text)`: the text is that of tests/golden/<name>; a file that is missing is a failure."""

    def check(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        assert path.exists(), f"there is no tests/golden/{name}: --update-golden writes it"
        assert text + "\n" == path.read_text(encoding="utf-8"), f"not tests/golden/{name}; see --update-golden"

    return check
