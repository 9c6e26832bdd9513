"""Programs come from the disk cache by their structure: the same bits, and nothing else under the same key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from adjit.compiler import pipeline
from adjit.compiler.compile import _files, _surroundings, compile_graph
from adjit.ir.graph import Graph
from adjit.ir.ops.define import scalar
from adjit.ir.parser import parse
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.shape import Dim, plain_size, size_names, size_of_plain
from adjit.runtime import host_library

TEXT = """
func @f(%x: f32[4, 8], %y: f32[8, 3]) -> (f32[4, 3], f32[]) {
  %0 = dot %x, %y {contract=[[1], [0]], batch=[[], []]} : f32[4, 3]
  %1 = FUNCTION %0 : f32[4, 3]
  %2 = reduce_sum %1 {axes=[0, 1]} : f32[]
  return %1, %2
}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ADJIT_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ADJIT_CACHE", raising=False)
    monkeypatch.delenv("ADJIT_CHECK", raising=False)
    yield


def graph_of(function: str = "tanh") -> Graph:
    return parse(TEXT.replace("FUNCTION", function))


def run(graph: Graph, **options: Any) -> list[Any]:
    random = np.random.default_rng(0)
    operands = [random.standard_normal(shape).astype("float32") for shape in ((4, 8), (8, 3))]
    return [result.tobytes() for result in compile_graph(graph, **options).run(operands)]


def no_passes(*_: object, **__: object) -> NoReturn:
    raise AssertionError("the passes ran")


def test_a_stored_program_needs_no_passes_and_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run(graph_of())
    monkeypatch.setattr(pipeline, "lowered", no_passes)
    assert run(graph_of()) == wanted
    for graph, options in ((graph_of("sin"), {}), (graph_of(), {"strict": True}), (graph_of(), {"threads": 7})):
        with pytest.raises(AssertionError, match="passes"):
            run(graph, **options)


def test_a_program_whose_memory_depends_on_sizes_is_stored_too(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = "{stride=[1, 1], padding=[[2, 3], [2, 3]], input_dilation=[2, 2], kernel_dilation=[1, 1], groups=1}"
    text = f"""
    func @conv(%x: f32[n, 3, 10, 12], %w: f32[2, 3, 3, 3]) -> (f32[n, 2, 22, 26]) {{
      %0 = conv %x, %w {conv} : f32[n, 2, 22, 26]
      return %0
    }}
    """
    random = np.random.default_rng(0)
    operands = [random.standard_normal(shape).astype("float32") for shape in ((6, 3, 10, 12), (2, 3, 3, 3))]
    made = compile_graph(parse(text), strict=True)
    wanted = made.run(operands)[0]
    assert any(map(size_names, (made.layout.arena, *made.layout.workspaces)))
    monkeypatch.setattr(pipeline, "lowered", no_passes)
    stored = compile_graph(parse(text), strict=True)
    assert stored.layout == made.layout
    assert stored.run(operands)[0].tobytes() == wanted.tobytes()


def test_sizes_are_what_they_were_after_json() -> None:
    n, m = Dim.named("n"), Dim.named("m")
    for size in (0, -7, n, 3 * n * n - 2 * m + 1, (n + 3) // 2, (n * m) % (m + 1) * n, -((n // m + 5) // 4) * 64):
        assert size_of_plain(json.loads(json.dumps(plain_size(size)))) == size


def test_a_program_is_compiled_again_when_its_object_is_gone(tmp_path: Path) -> None:
    wanted = run(graph_of())
    largest = max(tmp_path.glob("*.entry"), key=lambda path: path.stat().st_size)
    largest.unlink()
    assert run(graph_of()) == wanted


def test_programs_with_users_ops_are_not_stored(tmp_path: Path) -> None:
    @scalar
    def test_only_doubled(x: Any) -> Any:
        """Twice x."""
        return x + x

    try:
        before = len(list(tmp_path.glob("*.entry")))
        first = run(graph_of("test_only_doubled"))
        assert len(list(tmp_path.glob("*.entry"))) == before + 1  # the object, found by its text
        assert run(graph_of("test_only_doubled")) == first
    finally:
        del PRIMITIVES["test_only_doubled"]


def test_programs_of_another_build_of_numpy_have_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def surroundings() -> str:
        return _surroundings.__wrapped__()

    first, module = surroundings(), tmp_path / "module"
    monkeypatch.setattr(host_library, "path", lambda: str(module))
    without = surroundings()
    module.write_text("one build")
    second = surroundings()
    module.write_text("another build")
    assert len({first, without, second, surroundings()}) == 4


def test_files_in_folders_are_part_of_a_key(tmp_path: Path) -> None:
    (tmp_path / "inner" / "deep").mkdir(parents=True)
    (tmp_path / "__pycache__").mkdir()
    paths = [tmp_path / "a.py", tmp_path / "inner" / "b.py", tmp_path / "inner" / "deep" / "c.py"]
    for path in (*paths, tmp_path / "notes.txt", tmp_path / "__pycache__" / "d.py"):
        path.write_text("pass\n")
    before = _files(str(tmp_path))
    assert sorted(fact.partition(":")[0] for fact in before) == [str(path) for path in paths]
    paths[-1].write_text("return\n")
    assert set(before) - set(_files(str(tmp_path))) == {fact for fact in before if "c.py" in fact}
