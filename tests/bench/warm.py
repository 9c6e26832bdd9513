"""Calls before a measurement: better code, plans and the native entry are made beside the program once it is called."""

from __future__ import annotations

from collections.abc import Callable

# What is asked for may ask for the next: best code, the native entry for it, a plan of what that recorded.
_ROUNDS = 4


def warm_up(*runs: Callable[[], object], times: int = 5) -> None:
    """Make each of the runs so many times, and wait for what they had compiled, until they ask for nothing more."""
    from adjit.compiler.later import settle

    for _ in range(_ROUNDS):
        for run in runs:
            for _ in range(times):
                run()
        settle()
    for run in runs:
        run()
