"""`torch.profiler` and `torch.utils.benchmark`: what they record and print, not how long it took."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import adjit as torch
from adjit import overrides
from adjit.autograd import profiler as former
from adjit.profiler import ProfilerAction, ProfilerActivity, profile, record_function, schedule
from adjit.utils.benchmark import Compare, Measurement, TaskSpec, Timer


def test_calls_and_ranges_are_nested_and_summed() -> None:
    x = torch.ones(2, 3)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        with record_function("model"):
            torch.nn.Linear(3, 2)(x).sum().backward()
        x.exp()
        x.exp()
    names = [event.name for event in found.events()]
    assert names[0] == "model"
    assert names[-2:] == ["aten::exp", "aten::exp"]
    model = found.events()[0]
    assert {event.name for event in model.cpu_children} >= {"aten::linear", "aten::sum", "aten::backward"}
    assert model.cpu_time_total >= sum(event.cpu_time_total for event in model.cpu_children)
    sums = {event.key: event for event in found.key_averages()}
    assert sums["aten::exp"].count == 2
    assert sums["aten::exp"].cpu_time_total == pytest.approx(2 * sums["aten::exp"].cpu_time)
    by_shape = {(event.key, str(event.input_shapes)) for event in found.key_averages(group_by_input_shape=True)}
    assert ("aten::exp", "[[2, 3]]") in by_shape
    assert not overrides._wrappers, "nothing is left in the places of functions"


def test_the_table_has_pytorchs_columns(tmp_path: Path) -> None:
    with profile() as found:
        torch.ones(3).exp().sum()
    lines = found.key_averages().table(sort_by="cpu_time_total", row_limit=2).splitlines()
    titles = ["Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls"]
    assert [cell.strip() for cell in lines[1].split("  ") if cell.strip()] == titles
    assert len(lines) == 7
    assert lines[-1].startswith("Self CPU time total: ")
    assert len({len(line) for line in lines[:-1]}) == 1
    with pytest.raises(AttributeError):
        found.key_averages().table(sort_by="no such time")
    found.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events] == ["aten::ones", "aten::exp", "aten::sum"]


def test_a_schedule_records_its_active_steps() -> None:
    ready: list[list[str]] = []
    plan = schedule(wait=1, warmup=1, active=2, repeat=1, skip_first=1)
    with profile(schedule=plan, on_trace_ready=lambda p: ready.append([e.name for e in p.events()])) as found:
        for _ in range(8):
            torch.ones(1).exp()
            found.step()
    assert ready == [["aten::ones", "aten::exp"] * 2]
    assert [plan(step) for step in (0, 1, 2, 3, 4, 5)] == [
        ProfilerAction.NONE, ProfilerAction.NONE, ProfilerAction.WARMUP, ProfilerAction.RECORD,
        ProfilerAction.RECORD_AND_SAVE, ProfilerAction.NONE,
    ]  # fmt: skip


def test_the_former_names() -> None:
    with former.profile() as found, former.record_function("range"):
        torch.ones(1)
    assert [event.name for event in found.events()] == ["range", "aten::ones"]
    assert "aten::ones" in found.table()
    with former.profile(enabled=False) as found:
        torch.ones(1)
    assert found.events() == []

    @record_function("decorated")
    def work() -> None:
        torch.ones(1)

    with profile() as other:
        work()
    assert [event.name for event in other.events()] == ["decorated", "aten::ones"]


def test_timer_measures_with_the_setup_and_globals() -> None:
    timer = Timer("y = x + one", setup="one = torch.ones(1)", globals={"x": torch.ones(2)}, label="Add", sub_label="2")
    found = timer.timeit(50)
    assert (found.number_per_run, len(found.raw_times), found.title) == (50, 1, "Add: 2")
    assert found.median == found.mean == found.times[0] > 0
    lines = repr(found).splitlines()
    assert lines[1:3] == ["Add: 2", "setup: one = torch.ones(1)"]
    assert lines[-1] == "  1 measurement, 50 runs , 1 thread"
    ranged = timer.blocked_autorange(min_run_time=0.01)
    assert sum(ranged.raw_times) >= 0.01
    assert timer.adaptive_autorange(max_run_time=0.05).median > 0
    with pytest.raises(ZeroDivisionError):
        Timer("1 / 0").timeit(1)
    with pytest.raises(ValueError, match="measures Python"):
        Timer("x", language="c++")


def test_comparisons_are_tables() -> None:
    def measured(size: int, name: str, time: float) -> Measurement:
        return Measurement(10, [time * 10], TaskSpec(name, "pass", "", "Ops", f"[{size}]", name))

    table = Compare([measured(1, "add", 5.6e-6), measured(1, "exp", 2e-6), measured(9, "add", 6e-6)])
    assert str(table).splitlines() == [
        "[--------- Ops ---------]",
        "           |  add  |  exp",
        "1 threads: --------------",
        "      [1]  |  5.6  |  2.0",
        "      [9]  |  6.0  |     ",
        "",
        "Times are in microseconds (us).",
    ]
    merged = Measurement.merge([measured(1, "add", 1e-6), measured(1, "add", 3e-6)])
    assert len(merged) == 1
    assert merged[0].mean == pytest.approx(2e-6)


def test_what_is_not_measured_is_said() -> None:
    with pytest.warns(UserWarning, match=r"profile\(with_flops=True\): time is all that is measured"):
        profile(with_flops=True)
