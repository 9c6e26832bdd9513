"""The native entry is compiled by a thread where no cache has it: calls go on meanwhile, in a forked child too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


QUICK = """
import sys
import adjit as torch
from adjit.compiler.later import settle
from adjit.native import install

assert install.install()
entry = install.served_entry()
assert entry._is_quick == (sys.argv[1] == "quick"), entry._is_quick
x, w = torch.arange(4.0), torch.ones(4, requires_grad=True)
function = torch.compile(lambda x: x * x + 1)


def run():
    w.grad = None
    (x * w).sum().backward()
    (gradient,) = torch.autograd.grad((w * w).sum(), w)
    y = x + 1
    y[1:3] = 0.5
    return [y.tolist(), torch.sin(x).tolist(), w.grad.tolist(), gradient.tolist(), function(x).tolist()]


wanted = run()
for _ in range(60):
    assert run() == wanted
before = entry._library
settle()
assert not entry._is_quick and (entry._library is before) == (sys.argv[1] != "quick")
symbols = {symbol for _, symbol in entry._definitions}
assert all(words[1] == entry._library.address(symbol) for words, symbol in entry._definitions)
assert {"adjit_function", "adjit_backward", "adjit_grad", "adjit_setitem", "adjit_method0"} <= symbols
for _ in range(60):
    assert run() == wanted
"""


def test_quick_code_serves_until_there_is_the_best(tmp_path: Path) -> None:
    environment = {**os.environ, "ADJIT_CACHE_DIR": str(tmp_path), "ADJIT_BACKGROUND": "1"}
    for name in ("ADJIT_NATIVE", "ADJIT_CACHE", "ADJIT_QUICK"):
        environment.pop(name, None)
    for kind in ("quick", "best"):  # which the disk cache has then
        command = [sys.executable, "-c", QUICK, kind]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
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
