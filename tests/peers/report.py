"""What is known of each operator of torch's database, printed and as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.peers.gaps import DIFFERENT, GAPS

KINDS = ("result", "gradient", "second", "compiled", "error")


@dataclass
class Row:
    """What is known of one operator."""

    name: str
    state: str = "exists"
    passed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether all that ran passed, and something ran."""
        return self.state == "exists" and not self.failed and bool(self.passed)


def report(row: Row, verbose: bool) -> None:
    """Print an operator's line, and its first failures."""
    if row.state == "missing":
        print(f"{row.name:40} missing  {GAPS.get(row.name, '')}", flush=True)
        return
    word = "ok" if row.right else "FAILED" if row.failed else "nothing ran"
    counts = " ".join(f"{what} {row.passed[what]}/{row.passed[what] + row.failed[what]}"
                      for what in sorted({*row.passed, *row.failed}))  # fmt: skip
    skipped = " ".join(f"skipped {what} {count}" for what, count in row.skipped.items())
    reason = f"  ({DIFFERENT[row.name]})" if row.failed and row.name in DIFFERENT else ""
    print(f"{row.name:40} {word:8} {counts} {skipped}{reason}", flush=True)
    for message in row.messages if verbose else [m for m in row.messages if not m.startswith("[")][:2]:
        print("    " + message.replace("\n", "\n    ")[: 4000 if verbose else 400])


def conclude(rows: list[Row]) -> None:
    """Print the totals: operators, samples by kind of check, those that fail, those that are missing."""
    there = [row for row in rows if row.state != "missing"]
    ran = [row for row in there if row.passed or row.failed]
    right = [row for row in ran if row.right]
    print(
        f"\n{len(rows)} operators: {len(there)} exist, {len(ran)} of them have a sample that runs here, and "
        f"{len(right)} of those pass all that ran ({100 * len(right) / max(len(ran), 1):.1f} %)"
    )
    for kind in KINDS:
        passed, failed = (sum(getattr(row, what)[kind] for row in there) for what in ("passed", "failed"))
        if passed + failed:
            print(f"{kind:9} {passed:6} of {passed + failed:6} checks pass, {100 * passed / (passed + failed):.2f} %")
    failing = [row.name for row in there if row.failed and row.name not in DIFFERENT]
    if failing:
        print("not passing: " + " ".join(failing))
    idle = [row.name for row in there if not row.failed and not row.passed]
    if idle:
        print("nothing ran: " + " ".join(idle))
    absent = [row.name for row in rows if row.state == "missing" and row.name not in GAPS]
    if absent:
        print("missing without a reason in gaps.py: " + " ".join(absent))
    stale = [row.name for row in rows if row.right and row.name in {**GAPS, **DIFFERENT}]
    if stale:
        print("gaps.py names what passes: " + " ".join(stale))


def table(rows: list[Row]) -> str:
    """A Markdown table of all rows."""
    lines = ["| operator | " + " | ".join(KINDS) + " | |", "|---" * (len(KINDS) + 2) + "|"]
    for row in rows:
        cells = [
            f"{row.passed[k]}/{row.passed[k] + row.failed[k]}" if row.passed[k] + row.failed[k] else "" for k in KINDS
        ]
        note = GAPS.get(row.name, "missing") if row.state == "missing" else DIFFERENT.get(row.name, "")
        lines.append(f"| {row.name} | " + " | ".join(cells) + f" | {note} |")
    return "\n".join(lines) + "\n"
