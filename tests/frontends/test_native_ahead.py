"""The native entry is compiled by a thread where no cache has it: calls go on meanwhile, in a forked child too."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, time
import adjit

function = adjit.compile(lambda x: x * x + 3 * x)
x = adjit.arange(5.0)
wanted = [0.0, 4.0, 10.0, 18.0, 28.0]
calls = 0
while function._native is None:
    assert function(x).tolist() == wanted
    calls += 1
    if calls == 2:  # a thread is at work
        child = os.fork()
        if child == 0:
            for _ in range(3):
                assert function(x).tolist() == wanted
            os._exit(0 if function._native is not None else 1)
        assert os.waitpid(child, 0)[1] == 0
assert calls > 2
before = function._native.calls(function._entries[next(iter(function._entries))][0])
for _ in range(3):
    assert function(x).tolist() == wanted
entry = function._entries[next(iter(function._entries))][0]
assert function._native.calls(entry) > before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_calls_go_on_while_the_entry_is_compiled() -> None:
    environment = {**os.environ, "ADJIT_CACHE": "0"}
    environment.pop("ADJIT_NATIVE", None)
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr


PATCHED = """
import adjit as torch
from adjit.native import install

calls = []
plain = torch.Tensor.exp
torch.relu = lambda x: calls.append("relu") or x.clamp(min=0.0)
torch.Tensor.exp = lambda self: calls.append("exp") or plain(self)
install.install()
x = torch.tensor([-1.0, 2.0])
for _ in range(60):
    assert torch.relu(x).tolist() == [0.0, 2.0] and x.exp().shape == (2,)
assert len(calls) == 120, len(calls)
"""


def test_what_a_user_put_in_a_functions_place_stays_python() -> None:
    found = subprocess.run([sys.executable, "-c", PATCHED], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
