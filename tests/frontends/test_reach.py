"""What a compiled function compares at every call ends where other libraries begin."""

from __future__ import annotations

import types

import pytest

from adjit.environment import Environment


class Case:
    """A program beside the same program for another library."""

    def __init__(self, ours: object, theirs: object) -> None:
        self.ours, self.theirs = ours, theirs


@pytest.mark.parametrize("library", ["torch.nn.functional", "jax._src.numpy", "mine"])
def test_other_libraries_are_not_looked_into(library: str) -> None:
    namespace = {f"setting{number}": number for number in range(50)} | {"__name__": library}
    code = compile("def theirs(x):\n    return x * (" + " + ".join(list(namespace)[:50]) + ")", library, "exec")
    exec(code, namespace)
    theirs = namespace["theirs"]
    assert isinstance(theirs, types.FunctionType)
    case = Case(lambda x: x * 2, theirs)
    watched = {place.key for place, _ in Environment(lambda x: case.ours(x), []).places}
    assert {"ours", "theirs"} <= watched
    assert ("setting7" in watched) == (library == "mine")
