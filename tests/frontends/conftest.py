"""What the tests of the front end have in common."""

from __future__ import annotations

import ctypes
import sys

import pytest

from adjit.compiler.entry import known


@pytest.fixture(scope="module", autouse=True)
def room_for_native_calls(request: pytest.FixtureRequest) -> None:
    """Tests that expect native calls find tables that other modules' many kinds of calls have not filled."""
    tables = sys.modules.get("adjit.native.table")
    if tables is not None and request.module.__name__.rpartition(".")[2].startswith("test_native"):
        for table in list(tables._tables):
            with table.lock:
                table.forget()


@pytest.fixture(autouse=True)
def no_tape_came_before(request: pytest.FixtureRequest) -> None:
    """Nor is a tape of theirs taken for one of an earlier test, which would get a plan, by Python, at another time."""
    entries = sys.modules.get("adjit.native.entry")
    if entries is None or not request.module.__name__.rpartition(".")[2].startswith("test_native"):
        return
    entry = entries.native_entry()
    if entry is not None and entry.known[known.PASSES]:
        ctypes.memset(int(entry.known[known.PASSES]), 0, 8 * known.PASSES_WORDS)
