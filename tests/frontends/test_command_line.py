"""The command line: what each command prints, how it finds functions and their arguments, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import adjit as torch
from adjit.command.parser import main
from adjit.compiler.llvm.target import host_target
from adjit.ir.highlight import pieces
from adjit.sample_arguments import ArgumentError, read_argument

SCRIPT = """\
import adjit as torch
from adjit import nn

def loss(x, w, b, t):
    y = torch.sigmoid(x @ w + b)
    return ((y - t) ** 2).mean()

@torch.example_inputs("f32[8, 3]", "ones:f32[3, 1]", power=3)
def powered(x, w, power=2):
    return ((x @ w) ** power).sum()

@torch.example_inputs("ones:f64[3]")
@torch.compile
def already(x):
    return x.exp().sum()

@torch.example_inputs(lambda: (torch.ones(2, 3),))
class Net(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.fc = nn.Linear(3, classes)

    def forward(self, x):
        return self.fc(x).relu()

    def twice(self, x):
        return self(x) * 2

net = Net()
constant = 3

def bad(x, y):
    z = x + 1
    return z @ y

def helper(x):
    return int("seven")

def chosen(x, i):
    return x[i]

if __name__ == "__main__":
    raise SystemExit("run as a program")
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def script(tmp_path: Path) -> str:
    file = tmp_path / "train_script.py"
    file.write_text(SCRIPT, encoding="utf-8")
    return str(file)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """A command's exit code, output and errors; modules and paths that it adds are taken away again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("ADJIT_CACHE_DIR", str(tmp_path / "cache"))

    def command(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        found = capsys.readouterr()
        return code, found.out, found.err

    yield command
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


LOSS = ("--arg", "x=f32[4,3]", "--arg", "w=zeros:f32[3,1]", "--arg", "b=f32[1]", "--arg", "t=ones:f32[4,1]")


# -- inspect --------------------------------------------------------------------------------------------------------
def test_inspect_prints_the_traced_program(run: Run, script: str) -> None:
    code, out, err = run("inspect", f"{script}:loss", *LOSS)
    assert (code, err) == (0, "")
    assert out.startswith("func @loss(%x: f32[4, 3], %w: f32[3, 1], %b: f32[1], %t: f32[4, 1]) -> (f32[]) {\n")
    assert "# train_script.py:5" in out
    assert str(torch.parse(out)) == out.rstrip("\n")


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("legalize", "reduce_sum"),
        ("fuse", "fuse"),
        ("lower", "kernel"),
        ("llvm", "define"),
        ("asm", "ret"),
        ("all", "# asm"),
    ],
)
def test_stages(run: Run, script: str, stage: str, text: str) -> None:
    code, out, _ = run("inspect", f"{script}:loss", *LOSS, "--stage", stage)
    assert code == 0
    assert text in out


def test_the_backward_program_has_stages_too(run: Run, script: str) -> None:
    code, out, _ = run("inspect", f"{script}:loss", *LOSS, "--grad", "--wrt", "w")
    assert code == 0
    assert "func @loss.vjp(" in out
    assert "-> (f32[3, 1]) {" in out
    assert "kernel" in run("inspect", f"{script}:loss", *LOSS, "--grad", "--stage", "lower")[1]


def test_changes_of_all_stages_or_of_one(run: Run, script: str) -> None:
    _, out, _ = run("inspect", f"{script}:loss", *LOSS, "--changes")
    titles = [line for line in out.splitlines() if line.startswith("# ")]
    assert titles == ["# legalize", "# simplify", "# fuse", "# lower"]
    code, out, _ = run("inspect", f"{script}:loss", *LOSS, "--changes", "--stage", "fuse")
    assert code == 0
    assert "k0" in out
    assert "# fuse" not in out


def test_a_program_from_a_file(run: Run, script: str, tmp_path: Path) -> None:
    file = tmp_path / "loss.adjit"
    file.write_text(run("inspect", f"{script}:loss", *LOSS)[1], encoding="utf-8")
    assert "@loss.vjp" in run("inspect", str(file), "--grad", "--wrt", "w,b")[1]
    assert "kernel" in run("inspect", str(file), "--stage", "lower")[1]
    code, out, _ = run("inspect", str(file), "--html", str(tmp_path / "loss.html"))
    assert code == 0
    assert out.startswith(str(tmp_path / "loss.html"))
    assert "@loss" in (tmp_path / "loss.html").read_text(encoding="utf-8")


def test_as_json(run: Run, script: str) -> None:
    found = json.loads(run("inspect", f"{script}:powered", "--json")[1])
    assert found["inputs"] == [{"name": "x", "type": "f32[8, 3]"}, {"name": "w", "type": "f32[3, 1]"}]
    assert next(iter(found["stages"])) == "trace"
    assert found["operations"] >= 2


@pytest.mark.parametrize(
    ("name", "header"),
    [
        (":already", "func @already(%x: f64[3]) -> (f64[]) {"),
        (":Net", "func @Net(%x: f32[2, 3], %fc_weight: f32[2, 3], %fc_bias: f32[2]) -> (f32[2, 2]) {"),
        (":net", "func @Net(%x: f32[2, 3], %fc_weight: f32[2, 3], %fc_bias: f32[2]) -> (f32[2, 2]) {"),
        (":powered", "func @powered(%x: f32[8, 3], %w: f32[3, 1]) -> (f32[]) {"),
    ],
)
def test_what_can_be_named(run: Run, script: str, name: str, header: str) -> None:
    code, out, err = run("inspect", script + name)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == header


def test_methods_and_importable_modules(run: Run, script: str) -> None:
    assert "mul" in run("inspect", f"{script}:net.twice", "--arg", "f32[5,3]")[1]
    assert "sigmoid" in run("inspect", "adjit.example:loss", *LOSS)[1]


def test_the_command_line_comes_before_the_decorator(run: Run, script: str) -> None:
    assert "square" in run("inspect", f"{script}:powered", "--arg", "power=2")[1]
    assert "f32[5, 3]" in run("inspect", f"{script}:powered", "--arg", "x=f32[5,3]")[1]


# -- failures -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere.py:f"], "no file nowhere.py"),
        (["inspect", "no_such_module:f"], "no module of that name"),
        (["inspect", "{script}:lost"], "has no 'lost'; it has loss, powered, already, Net, net, bad, helper, chosen"),
        (["inspect", "{script}:net.lost"], "has no 'lost'"),
        (["inspect", "{script}:constant"], "is int, which cannot be called"),
        (["inspect", "{script}"], "say which function"),
        (["inspect", "{script}:loss", "--arg", "x=f32[4,3]"], "--arg 'w=f32[64, 3]'"),
        (["inspect", "{script}:loss", "--arg", "x=f33[4,3]"], "f33 is no dtype"),
        (["inspect", "{script}:loss", "--arg", "q=1"], "missing a required argument: 'x'"),
        (["inspect", "{script}:powered", "--stage", "nope"], "no stage 'nope'; there are trace, legalize"),
        (["inspect", "{script}:powered", "--grad", "--wrt", "q"], "no such input; there are x, w"),
        (["run", "nowhere.adjit"], "no file nowhere.adjit"),
        (["explain"], "the following arguments are required: FILE:FUNC"),
        (["profile", "{script}:powered", "--calls", "0"], "invalid"),
        (["dance"], "invalid choice"),
    ],
)
def test_wrong_commands_say_what_is_wrong(run: Run, script: str, arguments: list[str], message: str) -> None:
    code, out, err = run(*(argument.format(script=script) for argument in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_errors_of_the_users_program_show_the_users_lines_only(run: Run, script: str) -> None:
    code, out, err = run("inspect", f"{script}:bad", "--arg", "f32[2,3]", "--arg", "f32[4,5]")
    assert (code, out) == (1, "")
    assert "return z @ y" in err
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)" in err
    assert {line.split('"')[1] for line in err.splitlines() if line.startswith("  File")} == {script}
    assert run("run", f"{script}:helper", "--arg", "f32[2]")[0] == 1


@pytest.mark.parametrize("command", ["run", "profile"])
def test_faults_of_compiled_programs_are_told_without_adjits_lines(run: Run, script: str, command: str) -> None:
    arguments = (command, f"{script}:chosen", "--arg", "x=f32[3]", "--arg", "i=full(9):i64[2]")
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("IndexError: index 9 is out of bounds for dimension 0 with size 3\n")
    assert "return x[i]" in err
    assert "Traceback" not in err
    assert "Traceback" in run("--traceback", *arguments)[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit(3)", "called sys.exit(3)"),
        ("def f(:", "SyntaxError"),
        ("import nothing_like_this", "No module"),
    ],
)
def test_scripts_that_do_not_import(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(text + "\n", encoding="utf-8")
    code, _, err = run("inspect", f"{tmp_path / 'broken.py'}:f")
    assert code == 1
    assert message in err
    assert str(Path(torch.__file__).parent) not in err


def test_a_scripts_neighbours_and_a_name_already_taken(run: Run, tmp_path: Path) -> None:
    (tmp_path / "neighbour_module.py").write_text("factor = 3.0\n", encoding="utf-8")
    (tmp_path / "json.py").write_text(
        "from neighbour_module import factor\ndef f(x):\n    return x * factor\n", encoding="utf-8"
    )
    assert "mul %x, 3.0" in run("inspect", f"{tmp_path / 'json.py'}:f", "--arg", "f32[2]")[1]
    assert sys.modules["json"] is json


def test_a_script_in_a_package_may_import_relatively(run: Run, tmp_path: Path) -> None:
    package = tmp_path / "outer_package" / "inner"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("", encoding="utf-8")
    (package / "factors.py").write_text("factor = 3.0\n", encoding="utf-8")
    (package / "model.py").write_text(
        "from .factors import factor\ndef f(x):\n    return x * factor\n", encoding="utf-8"
    )
    assert "mul %x, 3.0" in run("inspect", f"{package / 'model.py'}:f", "--arg", "f32[2]")[1]


# -- the other commands ---------------------------------------------------------------------------------------------
def test_run_a_function(run: Run, script: str) -> None:
    code, out, _ = run("run", f"{script}:already")
    assert (code, out) == (0, "f64[]\ntensor(8.1548, dtype=torch.float64)\n")
    found = json.loads(run("run", f"{script}:already", "--json")[1])
    assert found == [{"type": "f64[]", "value": pytest.approx(3 * np.e, rel=1e-15)}]


def test_run_a_program(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "double.adjit"
    file.write_text("func @double(%x: f32[n], %y: f32[n]) -> (f32[n]) {\n  %0 = add %x, %y : f32[n]\n  return %0\n}\n")
    assert run("run", str(file), "--size", "n=2")[1] == "f32[2]\ntensor([2., 2.])\n"
    assert run("run", str(file), "--input", "y=arange:f32[3]")[1] == "f32[3]\ntensor([1., 2., 3.])\n"
    assert "@double.vjp" in run("run", str(file), "--grad")[1]
    assert run("run", str(file), "--arg", "z=1")[0] == 2
    assert run("run", str(file), "--size", "m=1")[0] == 2
    file.write_text("func @double(%x: f32[n]) {")
    code, _, err = run("run", str(file))
    assert code == 1
    assert "ParseError" in err


def test_explain_and_profile(run: Run, script: str) -> None:
    assert "first call" in run("explain", f"{script}:powered")[1]
    assert json.loads(run("explain", f"{script}:powered", "--json")[1])["programs"][0]["kernels"]
    assert "time by line:" in run("profile", f"{script}:powered", "--calls", "3")[1]
    found = json.loads(run("profile", f"{script}:powered", "--calls", "3", "--json")[1])
    assert found["seconds"] > 0
    assert found["calls"] == 3


def test_cache(run: Run, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("run", f"{script}:powered")
    assert run("cache", "--path")[1] == f"{tmp_path / 'cache'}\n"
    before = json.loads(run("cache", "--json")[1])
    assert before["programs"] > 0
    assert before["bytes"] > 0
    assert run("cache", "--clear")[1].startswith(f"removed {before['programs']} programs")
    assert json.loads(run("cache", "--json")[1])["programs"] == 0
    monkeypatch.setenv("ADJIT_CACHE", "0")
    assert run("cache")[:2] == (0, "off: ADJIT_CACHE=0\n")


def test_doctor(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("doctor")
    assert code == 0
    assert "llvm" in out
    assert "compiled gradient" in out
    found = json.loads(run("doctor", "--json")[1])
    assert all(check["ok"] for check in found["checks"])
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ADJIT_CACHE_DIR", str(blocked / "cache"))
    with pytest.warns(RuntimeWarning, match="without its disk cache"):
        code, out, _ = run("doctor")
    assert code == 1
    assert "FAIL disk cache" in out


def test_doctor_tells_that_no_such_processor_is_known(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_CPU", "abacus")
    monkeypatch.setattr("adjit.compiler.llvm.target.host_target", host_target.__wrapped__)
    code, out, _ = run("doctor")
    assert code == 1
    assert "not 'abacus'" in out
    assert "NumPy's BLAS" in out


def test_version(run: Run) -> None:
    assert run("--version")[:2] == (0, f"adjit {torch.__version__}\n")


def test_as_a_program(script: str, tmp_path: Path) -> None:
    """A pipe gets plain text unless colour is forced, and may close early."""
    command = [sys.executable, "-m", "adjit", "inspect", f"{script}:powered"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False), ({}, False)],
)
def test_colour(
    run: Run, script: str, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[36m%x\x1b[0m" in run("inspect", f"{script}:powered")[1]) == expected


# -- arguments as text ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-2.5e-3", -2.5e-3),
        ("true", True),
        ("None", None),
        ("train", "train"),
        ("'a, b'", "a, b"),
        ("[1, 2, [3.0, 'x']]", [1, 2, [3.0, "x"]]),
        ("(1, 2)", (1, 2)),
        ("(1,)", (1,)),
        ("{'a': 1, b: [2]}", {"a": 1, "b": [2]}),
        ("float64", torch.float64),
        ("[]", []),
    ],
)
def test_values(text: str, value: object) -> None:
    found = read_argument(text, np.random.default_rng(0))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zeros:f32[2, 3]", torch.zeros(2, 3)),
        ("float64[2,0]", torch.zeros(2, 0, dtype=torch.float64)),
        ("i64[3]", torch.zeros(3, dtype=torch.int64)),
        ("bool[1]", torch.zeros(1, dtype=torch.bool)),
        ("full(0.5):f32[2]", torch.full((2,), 0.5)),
        ("full(2.5):bf16[2]", torch.full((2,), 2.5, dtype=torch.bfloat16)),
        ("arange:i32[2,2]", torch.arange(4, dtype=torch.int32).reshape(2, 2)),
        ("eye:f32[2,2]", torch.eye(2)),
        ("ones:f32[]", torch.tensor(1.0)),
    ],
)
def test_tensors(text: str, expected: torch.Tensor) -> None:
    found = read_argument(text, np.random.default_rng(0))
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert torch.equal(found, expected)


def test_complex_tensors_have_two_parts() -> None:
    found = read_argument("c64[100]", np.random.default_rng(0)).numpy()
    assert 0.5 < np.std(found.real) < 2
    assert 0.5 < np.std(found.imag) < 2


def test_random_tensors_repeat_and_files_load(tmp_path: Path) -> None:
    one, two = (read_argument("[f32[3], randint(5, 9):i64[20]]", np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert 5 <= int(one[1].min()) <= int(one[1].max()) < 9
    np.save(tmp_path / "x.npy", np.arange(3.0))
    assert read_argument(f"@{tmp_path / 'x.npy'}", np.random.default_rng(0)).tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f32[2", "dtype"),
        ("f33[2]", "f33 is no dtype"),
        ("some:f32[2]", "some makes no tensors"),
        ("full:f32[2]", "full takes one number"),
        ("ones(2):f32[2]", "ones takes no number"),
        ("eye:f32[2]", "eye makes matrices"),
        ("randint(3, 1):i64[2]", "low >= high"),
        ("[1 2]", "expected , or ]"),
        ("{1}", "expected :"),
        ("1 2", "more than one argument"),
        ("", "expected a tensor's type"),
        ("@nowhere.npy", "nowhere.npy"),
    ],
)
def test_text_that_is_no_argument(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        read_argument(text, np.random.default_rng(0))


def test_highlighting_leaves_the_text_as_it_is() -> None:
    text = str(torch.compile(lambda x: torch.where(x > 0, x.softmax(-1), 0.5)).graph(torch.ones(2, 3)))
    cut = list(pieces(text))
    assert "".join(piece for _, piece in cut) == text
    kinds = {kind for kind, _ in cut}
    assert kinds >= {"keyword", "value", "op", "type", "callee", "number", "comment"}
    assert [piece for kind, piece in cut if kind == "op"].count("where") == 1
