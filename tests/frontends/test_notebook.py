"""What notebooks show: tensors as tables, compiled functions with their programs; names are never markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

import adjit as torch


def table(tensor: torch.Tensor) -> list[list[str]]:
    """The cells of the tables in a tensor's HTML."""
    found = ElementTree.fromstring(tensor._repr_html_())
    return [["".join(cell.itertext()) for cell in row] for row in found.iter("tr")]


def facts(tensor: torch.Tensor) -> str:
    heading = ElementTree.fromstring(tensor._repr_html_()).find("div")
    assert heading is not None
    return "".join(heading.itertext())


def test_a_matrix_is_a_table_with_its_indices() -> None:
    assert table(torch.tensor([[1.0, -2.5], [3.25, 4.0]])) == [
        ["", "0", "1"], ["0", "1.0000", "-2.5000"], ["1", "3.2500", "4.0000"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tensor", "rows"),
    [
        (torch.tensor(2.5), [["2.5000"]]),
        (torch.tensor([1, 20]), [["0", "1"], ["1", "20"]]),
        (torch.tensor([True, False]), [["0", "1"], ["True", "False"]]),
        (torch.tensor([1.0, float("nan"), float("inf")]), [["0", "1", "2"], ["1.", "nan", "inf"]]),
        (torch.tensor([1.5], dtype=torch.bfloat16), [["0"], ["1.5000"]]),
        (torch.zeros(3, 0), []),
    ],
)
def test_other_tensors(tensor: torch.Tensor, rows: list[list[str]]) -> None:
    assert table(tensor) == rows


def test_the_heading_says_type_and_gradient() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    assert facts(x) == "Tensor f32[2, 3] · requires_grad"
    assert facts((x * 2).sum()) == "Tensor f32[] · grad_fn=<SumBackward0>"
    assert facts(torch.nn.Parameter(torch.ones(1))) == "Parameter f32[1] · requires_grad"
    assert facts(torch.zeros(3, 0)) == "Tensor f32[3, 0] · no elements"


def test_long_axes_are_cut_and_many_matrices_counted() -> None:
    rows = table(torch.arange(100 * 50).reshape(100, 50))
    assert len(rows) == 1 + 21
    assert rows[0] == ["", "0", "1", "2", "3", "4", "5", "⋯", "44", "45", "46", "47", "48", "49"]
    assert [row[0] for row in rows[10:13]] == ["9", "⋮", "90"]
    text = torch.zeros(3, 5, 2, 2)._repr_html_()
    assert text.count("<table>") == 4
    assert "[0, 3, :, :]" in text
    assert "... 11 more" in text
    assert len(torch.zeros(1000, 1000)._repr_html_()) < 30_000


def test_a_traced_tensor_shows_its_type() -> None:
    shown: list[str] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        shown.append(x._repr_html_())
        return x * 2

    torch.compile(f)(torch.ones(3))
    assert "traced tensor" in shown[0]
    assert "f32[3]" in shown[0]


def test_a_compiled_function_shows_its_programs() -> None:
    @torch.compile
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    assert "not called yet" in double._repr_html_()
    double(torch.ones(2))
    double(torch.ones(3))
    text = double._repr_html_()
    assert "compiled function double" in text
    assert "2 programs" in text
    assert re.search(r"size of tensor argument 0, axis 0: 2 -&gt; 3|2 -> 3|2 -&gt; 3", text)
    assert text.count("<svg") == 2


def test_what_is_said_of_programs_is_shown_as_text() -> None:
    function = torch.compile(lambda x: (x * 2).sum())
    x = torch.ones(3)
    for found in (function.stages(x), function.source_map(x), function.explain(x), function.profile(x, calls=1)):
        (shown,) = ElementTree.fromstring(found._repr_html_()).findall("pre")
        assert "".join(shown.itertext()) == str(found)


def test_programs_show_their_text_and_drawing() -> None:
    program = torch.parse("func @double(%x: f32[n]) -> (f32[n]) {\n  %0 = mul %x, 2.0 : f32[n]\n  return %0\n}")
    assert '<span class="adjit-op">mul</span>' in program._repr_html_()
    ElementTree.fromstring(program._repr_svg_())
    x = torch.ones(2, requires_grad=True)
    assert "<svg" in (x * 3).sum().graph._repr_html_()


def test_names_never_become_markup() -> None:
    function = torch.compile(lambda x: x * 2)
    function.__name__ = "<script>alert(1)</script>"
    function(torch.ones(2))
    for entries in function._entries.values():
        entries[0].reason = "<img src=x onerror=alert(1)>"
        entries[0].graph.name = entries[0].graph.inputs[0].name = '"><script>alert(2)</script>'
    text = function._repr_html_()
    assert "<script" not in text
    assert "<img" not in text
