"""Logging and dumps: what is said when somebody listens, and silence when nobody does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import adjit as torch
from adjit.ir.logs import KINDS, asked_for

SCRIPT = """import adjit
f = adjit.compile(lambda x: (x * 2).sum())
f(adjit.ones(3)); f(adjit.ones(4))
"""


def double(x: Any) -> Any:
    return (x * 2).sum()


@pytest.mark.parametrize(("kind", "said"), [
    ("ir", "@double after fuse\nfunc @double("),
    ("passes", "@double: simplify: "),
    ("cache", "program 1: @double(x: f32[n])"),
    ("guards", "double is traced: size of x, axis 0: 3 -> 4"),
])  # fmt: skip
def test_a_logger_says_what_happens(caplog: pytest.LogCaptureFixture, kind: str, said: str) -> None:
    with caplog.at_level(logging.DEBUG, logger=f"adjit.{kind}"):
        function = torch.compile(double)
        function(torch.ones(3))
        function(torch.ones(4))
    assert {record.name for record in caplog.records} == {f"adjit.{kind}"}
    assert any(said in record.getMessage() for record in caplog.records)


def test_nothing_is_said_unasked(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    torch.compile(double)(torch.ones(5))
    assert tuple(capfd.readouterr()) == ("", "") and not caplog.records


def test_the_environment_asks_for_logs(tmp_path: Path) -> None:
    environment = {**os.environ, "ADJIT_LOG": "cache,guards", "ADJIT_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "[adjit.guards] <lambda> is traced: size of x, axis 0: 3 -> 4" in done.stderr
    assert "[adjit.cache] program 0: @function(x: f32[3])" in done.stderr and "[adjit.ir]" not in done.stderr


def test_unknown_names_give_a_warning() -> None:
    assert asked_for("all") == KINDS and asked_for("") == ()
    with pytest.warns(RuntimeWarning, match="there is no speed; there are ir, passes, cache, guards, all"):
        assert asked_for("ir, speed") == ("ir",)


def test_dumps_hold_every_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADJIT_DUMP_DIR", str(tmp_path / "stages"))
    x = torch.ones(3, requires_grad=True)
    result = torch.compile(double)(x)
    result.backward()
    folders = sorted((tmp_path / "stages").iterdir(), key=lambda path: path.name)
    names = {path.name.split("-", 2)[2] for path in folders}
    assert {"double", "double.vjp"} <= names
    folder = next(path for path in folders if path.name.endswith("-double"))
    files = [path.name for path in sorted(folder.iterdir())]
    assert files == ["0.trace.adjit", "1.legalize.adjit", "2.simplify.adjit", "3.fuse.adjit", "4.lower.adjit", "asm.s",
                     "llvm.ll"]  # fmt: skip
    program = torch.load_program(folder / "2.simplify.adjit")
    assert torch.equal(program(torch.ones(3)), torch.tensor(6.0))
