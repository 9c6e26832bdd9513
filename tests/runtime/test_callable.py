"""Objects that are called through a pointer of their own."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from adjit.runtime import callable, layout


@pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
def test_this_interpreter_finds_the_pointers() -> None:
    assert callable.is_served()


def test_instances_without_a_pointer_are_ordinary() -> None:
    class Adder(callable.NativeCallable):  # type: ignore[misc]
        def __init__(self, by: int) -> None:
            self.by = by

        def __call__(self, x: int) -> int:
            return x + self.by

    callable.enable(Adder)
    adder: Any = Adder(3)
    assert adder(4) == 7 and [*map(adder, (1, 2))] == [4, 5]
    adder.itself = adder
    seen = weakref.ref(adder)
    del adder
    gc.collect()
    assert seen() is None
    with pytest.raises(TypeError):
        Adder(1)()
