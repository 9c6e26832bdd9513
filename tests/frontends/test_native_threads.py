"""Native calls whose operands other threads change meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

import adjit as torch
from adjit.environment import Environment
from adjit.native import install
from adjit.runtime import layout
from tests.frontends.natively import calls_without_python
from tests.threads import meanwhile

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()


def test_another_thread_changes_data_while_operands_are_copied() -> None:
    """What a call reads is held from the beginning: the GIL is released while an operand is put in order."""
    x = torch.ones(700, 700).t()
    function = torch.compile(lambda a: (a * 2).sum())
    for _ in range(3):
        function(x)
    with calls_without_python():
        function(x)

    def change() -> None:
        x.data = torch.ones(700, 700).t()

    with meanwhile(change):
        found = {function(x).item() for _ in range(60)}
    assert found == {2.0 * 700 * 700}


SCALES = [2.0, 3.0]


def test_operands_are_looked_at_again_after_a_guard_ran_python(monkeypatch: pytest.MonkeyPatch) -> None:
    function = torch.compile(lambda x: x * SCALES[0] + SCALES[1])
    x, other = torch.ones(100), torch.ones(3)
    function(other)
    for _ in range(3):
        function(x)
    with calls_without_python():
        function(x)
    parts_of = Environment._parts

    def changing(environment: Environment, container: Any) -> tuple[Any, ...]:
        x.data = other  # as another thread may
        return parts_of(environment, container)

    monkeypatch.setattr(Environment, "_parts", changing)
    assert function(x).tolist() == [5.0] * 3
    assert x.shape == (3,)
