"""gdb on compiled code: a breakpoint on a line of Python stops in the machine code of that line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """import adjit
def f(x):
    y = adjit.exp(x)
    return (y * 2.0 + x).sum()
adjit.compile(f, debug_info=True)(adjit.ones(100))
"""


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
def test_gdb_stops_at_a_line_of_python(tmp_path: Path) -> None:
    script = tmp_path / "model.py"
    script.write_text(SCRIPT)
    commands = ["set breakpoint pending on", "set debuginfod enabled off", "break model.py:4", "run", "info line *$pc"]
    given = [part for command in commands for part in ("-ex", command)]
    done = subprocess.run(
        ["gdb", "-q", "-nx", "-batch", *given, "--args", sys.executable, str(script)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if "ptrace" in done.stderr:
        pytest.skip("this machine does not let gdb trace")
    assert f'Line 4 of "{script}"' in done.stdout, done.stdout + done.stderr
