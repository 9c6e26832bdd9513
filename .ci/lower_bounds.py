"""Print pip constraints that pin each dependency to the oldest release pyproject.toml admits."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """One line for each dependency: numpy>=2.0,<3 gives numpy==2.0.*."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+),<[\d.]+", requirement)
        if match is None:
            raise SystemExit(f"a dependency needs a lower and an upper bound: {requirement}")
        print(f"{match[1]}=={match[2]}.*")


if __name__ == "__main__":
    main()
