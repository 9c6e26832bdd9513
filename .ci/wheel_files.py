"""Compare the files of a wheel with those of the four folders: nothing missing, nothing more."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"ir": "adjit/ir", "runtime": "adjit/runtime", "compiler": "adjit/compiler", "frontends": "adjit"}


def expected() -> set[str]:
    """The wheel's paths of every file in the four folders."""
    paths = set()
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                paths.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    return paths


def main(wheel: str) -> None:
    """Exit with the difference, if there is one."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = {Path(name).name for name in archive.namelist() if ".dist-info/licenses/" in name}
    wanted = expected()
    if held != wanted or licences != {"LICENSE", "NOTICE"}:
        sys.exit(f"missing {sorted(wanted - held)}, unexpected {sorted(held - wanted)}, licences {sorted(licences)}")
    print(f"{Path(wheel).name}: {len(held)} files, as in the folders")


if __name__ == "__main__":
    main(sys.argv[1])
