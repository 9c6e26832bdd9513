"""The HTML page: what it holds, and in a real browser its links both ways, search, keys, and light and dark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import adjit as torch
from adjit.demo import Trainer, first_batch
from adjit.example import loss
from adjit.page.links import Links, runs
from tests.frontends.browser import Browser, find_browser

LIMIT = 2_000_000


def data_of(text: str) -> Any:
    """What the page's scripts read."""
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def sets_of(document: Any) -> list[int]:
    """The set of each line."""
    runs = document["runs"]
    return [number for count, number in zip(runs[::2], runs[1::2], strict=True) for _ in range(count)]


@pytest.fixture(scope="module")
def digits() -> str:
    """The page of the digits network's whole training step."""
    return str(torch.compile(Trainer().step).html(*first_batch()))


@pytest.fixture(scope="module")
def small() -> str:
    """The page of README's example."""
    data = torch.ones(4, 3), torch.zeros(3, 1), torch.zeros(1), torch.ones(4, 1)
    return str(torch.compile(loss).html(*data))


# -- what it holds --------------------------------------------------------------------------------------------------
def test_the_digits_network_fits(digits: str) -> None:
    assert len(digits.encode()) < LIMIT
    documents = data_of(digits)["documents"]
    titles = [document["title"] for document in documents]
    stages = ["trace", "legalize", "simplify", "fuse", "lower"]
    assert titles == ["demo.py", *stages, "LLVM", "assembly", "changes", "explain"]


def test_lines_and_kernels_have_their_times(digits: str) -> None:
    data = data_of(digits)
    source, lower = (next(d for d in data["documents"] if d["title"] == title) for title in ("demo.py", "lower"))
    lines = source["text"].split("\n")
    timed = {lines[int(number) - 1].strip() for number in source["times"]}
    assert "x = self.pool1(F.relu(self.conv1(input)))" in timed
    kernels = [line for line in lower["text"].split("\n") if " = kernel " in line]
    assert len(lower["times"]) == len(kernels) == len(data["kernels"])
    assert sum(source["times"].values()) == pytest.approx(sum(lower["times"].values()))


def test_changes_and_explanations_are_linked(digits: str) -> None:
    documents = {document["title"]: document for document in data_of(digits)["documents"]}
    for title, sign in (("changes", "removed"), ("explain", "k0: ")):
        document = documents[title]
        lines, sets = document["text"].split("\n"), sets_of(document)
        assert len(lines) == len(sets)
        assert any(number for line, number in zip(lines, sets, strict=True) if sign in line)


def test_every_line_of_a_stage_that_is_an_operation_is_linked(digits: str) -> None:
    data = data_of(digits)
    for document in data["documents"][1:3]:
        sets = sets_of(document)
        lines = document["text"].split("\n")
        assert len(sets) == len(lines)
        body = lines.index("}")  # of the program itself: the functions that it calls come after
        assert all(number > 0 for line, number in zip(lines[:body], sets, strict=False) if " = " in line)


def test_a_function_has_a_page_of_forward_and_backward(small: str) -> None:
    data = data_of(small)
    groups = {(document["group"], document["title"]) for document in data["documents"]}
    assert {("forward", "trace"), ("backward", "trace"), ("backward", "assembly")} <= groups
    assert any(backward for _, backward, _ in data["places"])
    assert ">backward</text>" in small


def test_a_page_asks_for_nothing_outside_itself(digits: str) -> None:
    assert "default-src 'none'" in digits
    assert set(re.findall(r"https?://[^\s\"'<>]+", digits)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:link|img|iframe)\b|<script[^>]*\bsrc=|@import|url\(", digits)


def test_source_text_never_becomes_markup(tmp_path: Path) -> None:
    script = tmp_path / "x.py"
    script.write_text('def evil(x):\n    "</script><script>alert(1)</script><!-- {{script}}"\n    return x * 2\n')
    from adjit.command.target import find

    text = str(find(f"{script}:evil").compiled.html(torch.ones(2)))
    assert text.count("<script") == 2
    assert text.count("<!--") == 0
    assert "{{script}}" in data_of(text)["documents"][0]["text"]


def test_a_program_from_text_has_a_page() -> None:
    program = torch.parse("func @double(%x: f32[n]) -> (f32[n]) {\n  %0 = mul %x, 2.0 : f32[n]\n  return %0\n}")
    page = program.html()
    assert "@double" in str(page)
    assert page._repr_html_().startswith("<iframe")
    assert "mul %x, 2.0" in data_of(str(page))["documents"][0]["text"]


def test_a_function_without_gradients_has_a_page() -> None:
    documents = data_of(str(torch.compile(lambda x: x.argmax()).html(torch.ones(3))))["documents"]
    assert {document["group"] for document in documents} == {""}


@pytest.mark.parametrize("numbers", [[], [0], [1, 1, 2], [0, 0, 0, 3, 3, 0]])
def test_runs(numbers: list[int]) -> None:
    found = runs(numbers)
    assert [number for count, number in zip(found[::2], found[1::2], strict=True) for _ in range(count)] == numbers


def test_links_share_what_is_equal() -> None:
    from adjit.ir.graph import UNKNOWN, Location

    links = Links()
    here, there = Location("a.py", 3, path="/x/a.py"), Location("a.py", 3, path="/y/a.py")
    assert links.set_at([UNKNOWN]) == 0
    assert links.set_at([here, here]) == links.set_at([here]) == 1
    assert links.set_at([there]) == 2
    assert links.set_at([here.derived("∂")]) == 3
    assert len(links.spots) == 2
    assert links.sets_by_line("/x/a.py") == {3: links.set_at([here, here.derived("∂")])}


# -- in a browser ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, digits: str) -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip("no Chromium on this machine")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "digits.html").write_text(digits, encoding="utf-8")
    found = Browser(executable, folder)
    try:
        found.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        found.open(folder / "digits.html")
        yield found
    finally:
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Callable[[str], Any]]:
    """Looks into the page, which starts without selection and ends without errors or requests."""
    browser.press("Escape", "Escape")
    browser.point("footer")
    yield browser.look
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith("file://")] == []
    assert len(browser.requests) == 1


LINKED = "[...document.querySelectorAll('#pane-{pane} .linked')]"
SHOWN = "named.{pane}.text.title"


def line_of(page: Callable[[str], Any], pane: str, words: str) -> str:
    """The selector of the first line that holds some words, brought into view."""
    line = page(
        f"(() => {{ const p = named.{pane}; const n = p.text.lines.findIndex((l) => l.includes({words!r}));"
        "p.scrollTo(n, true); return n; })()"
    )
    assert line >= 0
    return f"#{pane}-{line}"


def test_a_line_of_python_shows_all_it_became(browser: Browser, page: Callable[[str], Any]) -> None:
    browser.click(line_of(page, "source", "self.conv1(input)"))
    texts = page(f"{LINKED.format(pane='program')}.map((row) => row.textContent)")
    assert any("@convolution" in text for text in texts)
    assert any("relu" in text for text in texts)
    assert page(f"{LINKED.format(pane='machine')}.length") > 10
    boxes = page(f"{LINKED.format(pane='graph')}.map((box) => box.querySelector('.title').textContent)")
    assert {"convolution", "relu", "max_pool", "conv"} <= set(boxes)
    assert re.match(r"demo\.py:\d+ x = self\.pool1.* in trace, .* in LLVM, .* in assembly", page("status.textContent"))


def test_a_box_and_a_line_of_assembly_lead_back_to_python(browser: Browser, page: Callable[[str], Any]) -> None:
    number = page("named.graph.boxes.findIndex((b) => b.querySelector('.title').textContent === 'log_softmax')")
    page(f"named.graph.scrollTo({number})")
    browser.click(f"#graph-{number}")
    assert page(f"{LINKED.format(pane='source')}.map((row) => row.textContent)")[0].endswith(
        "self.criterion(self.net(images), labels)"
    )
    page("named.machine.show(named.machine.texts[1])")
    line = page("named.machine.text.sets.findIndex((set) => directionOf[set] === 'backward ')")
    page(f"named.machine.scrollTo({line}, true)")
    browser.click(f"#machine-{line}")
    assert page(f"{LINKED.format(pane='source')}.length") > 0
    assert page(f"{LINKED.format(pane='program')}.every((row) => /forward|backward/.test(row.className))")
    page("named.machine.show(named.machine.texts[0])")


def test_one_operation_of_a_line_shows_its_own_expression(browser: Browser, page: Callable[[str], Any]) -> None:
    browser.click(line_of(page, "program", "relu %4"))
    assert page("document.querySelector('#pane-source u').textContent.startsWith('F.relu(')")
    rows = page("links.linesIn(named.program.text).map((line) => named.program.text.lines[line])")
    assert rows
    assert all("relu" in row for row in rows), "its own line and those of its derivative"
    whole = page("links.linesIn(named.machine.texts[1]).length")
    browser.click(line_of(page, "source", "self.conv2(x)"))
    assert page("links.linesIn(named.machine.texts[1]).length") > 5 * whole > 0


def test_a_kernel_shows_its_own_machine_code(browser: Browser, page: Callable[[str], Any]) -> None:
    page("named.program.show(named.program.texts.at(-1))")
    browser.click(line_of(page, "program", "k3: "))
    for number in (0, 1):
        text = f"named.machine.texts[{number}]"
        assert set(page(f"links.linesIn({text}).flatMap((line) => data.sets[{text}.sets[line]][1])")) == {"k3"}
    assert "kernel k3" in page("status.textContent")
    page("named.program.show(named.program.texts[0])")


def test_tabs_answer_to_arrows(browser: Browser, page: Callable[[str], Any]) -> None:
    page("named.program.tabs.firstChild.focus()")
    browser.press("ArrowRight")
    assert page(SHOWN.format(pane="program")) == "legalize"
    assert page("document.activeElement.textContent") == "legalize"
    browser.press("ArrowLeft")
    assert page(SHOWN.format(pane="program")) == "trace"


def test_pointing_shows_links_and_leaving_forgets_them(browser: Browser, page: Callable[[str], Any]) -> None:
    browser.point(line_of(page, "program", "reduce_sum"))
    assert page(f"{LINKED.format(pane='source')}.length") > 0
    browser.point("footer")
    assert page("document.querySelectorAll('.linked').length") == 0


def test_a_held_line_stays_while_others_are_pointed_at(browser: Browser, page: Callable[[str], Any]) -> None:
    held = line_of(page, "source", "self.out(x)")
    browser.click(held)
    spots = page("String(links.held.spots)")
    browser.point(line_of(page, "source", "self.fc(x)"))
    assert page("String(links.spots)") != spots
    browser.point("footer")
    assert page("String(links.spots)") == spots != ""


def test_search_finds_marks_and_steps(browser: Browser, page: Callable[[str], Any]) -> None:
    browser.press("/")
    assert page("document.activeElement.id") == "search"
    browser.send("Input.insertText", text="Scatter_Add")
    assert re.fullmatch(r"\d+ found", page("document.getElementById('found').textContent"))
    assert page("document.querySelectorAll('#pane-program .count').length") >= 2
    assert page("document.querySelectorAll('.box.match').length") == 1
    browser.press("Enter")
    assert page("document.activeElement.id") == "lines-program"
    first = page("named.program.active")
    assert "scatter_add" in page(f"named.program.text.lines[{first}]")
    assert page("document.querySelector('#pane-program mark').textContent") == "scatter_add"
    browser.press("n")
    assert page("named.program.text.matches.includes(named.program.active)")
    browser.press("Escape")
    assert page("document.querySelectorAll('mark, .match, .count').length") == 0


def test_keys(browser: Browser, page: Callable[[str], Any]) -> None:
    page("named.source.focus.focus()")
    browser.press("g", "j", "ArrowDown", "k")
    assert page("named.source.active") == 1
    assert page("named.source.list.getAttribute('aria-activedescendant')") == "source-1"
    browser.press("G")
    assert page("named.source.active") == page("named.source.text.lines.length - 1")
    browser.press("l", "ArrowRight")
    assert page("document.activeElement.id") == "lines-program"
    browser.press("]")
    assert page(SHOWN.format(pane="program")) == "legalize"
    browser.press("[", "g", "j", "Enter")
    assert page("links.held.spots.length") > 0
    browser.press("f")
    assert page("document.querySelectorAll('.pane.large').length") == 1
    browser.press("Escape")
    assert page("document.querySelectorAll('.pane.large').length") == 0
    browser.press("?")
    assert page("document.getElementById('help').open")
    page("document.getElementById('help').close()")
    browser.press("h")
    assert page("document.activeElement.id") == "lines-graph"
    browser.press("0")
    assert page("named.graph.zoom") < 0.5
    browser.press("g", "j", "j")
    assert page("named.graph.active") == 2
    page("named.graph.open()")


def test_light_and_dark(browser: Browser, page: Callable[[str], Any]) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page(colour) == "rgb(255, 255, 255)"
    browser.click("#theme")
    assert page(colour) == "rgb(13, 17, 23)"
    box = "getComputedStyle(document.querySelector('.box.op.program rect')).fill"
    assert page(box) == "rgb(16, 35, 61)"
    browser.click("#theme")
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page(colour) == "rgb(255, 255, 255)", "what the reader chose comes before the system's setting"
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])


def test_it_can_be_read_by_those_who_do_not_see_it(browser: Browser, page: Callable[[str], Any]) -> None:
    unnamed = page(
        "[...document.querySelectorAll('button, input, [role=listbox], [role=tablist], section, [role=separator]')]"
        ".filter((e) => !e.getAttribute('aria-label') && !e.textContent.trim() && !e.title).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    tree = browser.send("Accessibility.getFullAXTree")["nodes"]
    names = {(node["role"]["value"], node["name"]["value"]) for node in tree if "name" in node and "role" in node}
    assert {("listbox", "Python"), ("listbox", "Graph"), ("tab", "trace"), ("searchbox", "Search all texts")} <= names
    assert page("document.documentElement.lang") == "en"


def test_a_narrow_window_stacks_the_panes(browser: Browser, page: Callable[[str], Any]) -> None:
    browser.send("Emulation.setDeviceMetricsOverride", width=600, height=900, deviceScaleFactor=1, mobile=False)
    lefts = page("panes.map((pane) => pane.root.getBoundingClientRect().left)")
    assert len(set(lefts)) == 1
    browser.send("Emulation.clearDeviceMetricsOverride")


def test_a_screenshot_has_a_picture_in_it(browser: Browser, page: Callable[[str], Any], tmp_path: Path) -> None:
    browser.click(line_of(page, "source", "self.conv1(input)"))
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_a_box_of_the_derivative_shows_the_backward_program(browser: Browser, small: str, tmp_path: Path) -> None:
    (tmp_path / "small.html").write_text(small, encoding="utf-8")
    browser.open(tmp_path / "small.html")
    assert browser.look("[named.program.group, named.machine.group].join()") == "forward,forward"
    number = browser.look("named.graph.boxes.findIndex((b) => b.querySelector('.type').textContent.startsWith('%d5'))")
    browser.look(f"named.graph.scrollTo({number})")
    browser.click(f"#graph-{number}")
    assert browser.look("[named.program.group, named.machine.group].join()") == "backward,backward"
    assert browser.look("status.textContent").startswith("example.py:13")
    assert browser.problems == []
