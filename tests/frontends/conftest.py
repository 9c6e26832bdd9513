"""What the tests of the front end have in common."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def room_for_native_calls(request: pytest.FixtureRequest) -> None:
    """Tests that expect native calls find tables that other modules' many kinds of calls have not filled."""
    tables = sys.modules.get("adjit.native.table")
    if tables is not None and request.module.__name__.rpartition(".")[2].startswith("test_native"):
        for table in list(tables._tables):
            with table.lock:
                table.forget()
