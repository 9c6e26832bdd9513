"""Debug information of compiled code: what gdb and perf see, and that the code computes the same."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from adjit.compiler.build import LEVEL, build, llvm_text
from adjit.compiler.compile import compile_graph
from adjit.compiler.llvm.listing import listing
from adjit.compiler.llvm.perf import map_path, ranges
from adjit.compiler.load import MAIN
from adjit.compiler.pipeline import lowered
from adjit.ir.parser import parse

TEXT = """func @f(%x: f32[64], %w: f32[64, 64]) -> (f32[64], f32[]) {
  %0 = exp %x                              : f32[64]  # model.py:3
  %1 = dot %0, %w {contract=[[0], [0]], batch=[[], []]} : f32[64]  # other.py:70
  %2 = reduce_sum %1 {axes=[0]}            : f32[]    # model.py:5
  return %1, %2
}"""


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(64).astype(np.float32), rng.standard_normal((64, 64)).astype(np.float32)]


def test_debug_information_changes_no_bit() -> None:
    last = lowered(parse(TEXT))
    plain, traced = (build(last, strict=False, threads=1, debug=debug).run(arrays()) for debug in (False, True))
    for a, b in zip(plain, traced, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_instruction_of_a_kernel_stands_at_one_of_its_lines() -> None:
    found = listing(llvm_text(lowered(parse(TEXT)), threads=1, debug=True), LEVEL)
    places = {(i.path, i.line) for i in found.instructions if i.line}
    assert places == {("model.py", 3), ("model.py", 5), ("other.py", 70)}
    own = [i for i in found.instructions if i.function.startswith("k")]
    assert sum(1 for i in own if i.line) > 0.95 * len(own)
    addresses = [i.address for i in found.instructions]
    assert addresses[0] == 0 and addresses == sorted(addresses)  # type: ignore[type-var]
    assert all(found.lines[i.number - 1].strip() == i.text for i in found.instructions)


def test_text_without_debug_information_has_none() -> None:
    assert "!dbg" not in llvm_text(lowered(parse(TEXT)))


def test_perf_finds_the_lines_where_the_code_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADJIT_PERF", "1")
    monkeypatch.setattr("adjit.compiler.llvm.perf.map_path", lambda: tmp_path / "perf.map")
    program = compile_graph(parse(TEXT), threads=1)
    lines = [line.split(" ", 2) for line in (tmp_path / "perf.map").read_text().splitlines()]
    spans = [(int(start, 16), int(start, 16) + int(size, 16)) for start, size, _ in lines]
    assert all(stop <= following for (_, stop), (following, _) in pairwise(spans))
    main = program.library.address(MAIN)  # type: ignore[attr-defined]
    owner = next(name for (start, stop), (_, _, name) in zip(spans, lines, strict=True) if start <= main < stop)
    assert owner.endswith(f"[{MAIN}]")
    assert any(name.startswith("other.py:70 ") for _, _, name in lines)
    assert map_path().name.startswith("perf-")


def test_ranges_meet_without_gaps() -> None:
    found = listing(llvm_text(lowered(parse(TEXT)), threads=1, debug=True), LEVEL)
    spans = list(ranges(found, 1 << 40))
    assert all(a + size == b for (a, size, _), (b, _, _) in pairwise(spans))
