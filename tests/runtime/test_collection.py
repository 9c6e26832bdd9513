"""Pauses of the collector: it runs again afterwards, and the first new objects of a process count as old."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from adjit.runtime import collection
from adjit.runtime.collection import collector_paused


@pytest.fixture(autouse=True)
def on() -> Iterator[None]:
    gc.collect()
    yield
    gc.unfreeze()
    gc.enable()


def young() -> int:
    return len(gc.get_objects(generation=0))


def test_it_runs_again_after_an_error() -> None:
    with pytest.raises(KeyError), collector_paused():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_left", 100_000)
    gc.disable()
    with collector_paused():
        kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    assert not gc.isenabled()
    assert young() >= len(kept)


@pytest.mark.parametrize(("left", "old"), [(100_000, True), (500, False), (0, False)])
def test_new_objects_count_as_old_while_few_did(monkeypatch: pytest.MonkeyPatch, left: int, old: bool) -> None:
    monkeypatch.setattr(collection, "_left", left)
    gc.disable()  # so that nothing is looked at before it is counted
    kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    collection._count_as_old()
    assert (young() < len(kept)) == old
    assert collection._left == 0 if not old else collection._left < left - len(kept)


def test_what_users_froze_stays_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_left", 100_000)
    gc.freeze()
    count = gc.get_freeze_count()
    with collector_paused():
        pass
    assert gc.get_freeze_count() >= count


def test_garbage_that_counts_as_old_is_freed_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_left", 100_000)

    class Cycle:
        count = 0

        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            Cycle.count += 1

    with collector_paused():
        Cycle()
    gc.collect()
    assert Cycle.count == 1
