"""Eager operations whose programs the disk cache has are served from their third call on; others wait longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = """
import json, sys
import numpy as np
import adjit as torch
from adjit.compiler import compile
from adjit.native.install import install
from adjit.native.operation import Operation

missed, asked = [], []
miss, stored = Operation.miss, compile.stored_executable

def counted(self, names, *operands):
    missed.append(self.function.__name__)
    return miss(self, names, *operands)

def looked_up(graph, **options):
    asked.append(graph)
    return stored(graph, **options)

Operation.miss, compile.stored_executable = counted, looked_up
install()
texts = []
for rows in json.loads(sys.argv[1]):
    x = torch.from_numpy(np.random.default_rng(rows).standard_normal((rows, 8)).astype("float32"))
    for _ in range(int(sys.argv[2])):
        found = torch.nn.functional.layer_norm(x, (8,))
    texts.append(found.numpy().tobytes().hex())
print(json.dumps([missed.count("layer_norm"), len(asked), texts]))
"""


def run(folder: Path, rows: list[int], times: int) -> Any:
    """How often Python served layer_norm, how many programs the cache was asked for, and the results."""
    environment = {**os.environ, "ADJIT_CACHE_DIR": str(folder), "ADJIT_BACKGROUND": "0"}
    environment.pop("ADJIT_CACHE", None)
    command = [sys.executable, "-c", PROGRAM, json.dumps(rows), str(times)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_a_stored_program_serves_the_third_call(tmp_path: Path) -> None:
    first, asked, texts = run(tmp_path, [5], 12)
    assert (first, asked) == (6, 1)
    second, asked, again = run(tmp_path, [5], 12)
    assert (second, asked, again) == (2, 1, texts)


def test_the_cache_is_asked_in_vain_a_few_times_only(tmp_path: Path) -> None:
    run(tmp_path, [5], 12)
    served, asked, _ = run(tmp_path, [6, 7], 2)
    assert (served, asked) == (4, 2)
    _, asked, _ = run(tmp_path, [*range(6, 12), *range(20, 40)], 2)
    assert 0 < asked <= 8
