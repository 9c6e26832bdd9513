"""`cache`: where compiled programs are kept, how many there are, and how to be rid of them."""

from __future__ import annotations

import json
import os

from adjit.command.failure import OK
from adjit.command.terminal import columns
from adjit.inspection.printing import size_text
from adjit.runtime.cache import default_cache


def cache(*, path: bool, clear: bool, as_json: bool) -> int:
    """Print the disk cache's folder and size, or clear it."""
    found = default_cache()
    if found is None:
        print(json.dumps({"on": False}) if as_json else "off: ADJIT_CACHE=0")
        return OK
    if path:
        print(found.directory)
        return OK
    size, entries = found.size(), found.count()
    if clear:
        found.clear()
        freed = {"directory": str(found.directory), "removed": entries, "bytes": size}
        text = f"removed {entries} programs, {size_text(size)}, from {found.directory}"
        print(json.dumps(freed) if as_json else text)
        return OK
    facts = {"on": True, "directory": str(found.directory), "programs": entries, "bytes": size, "limit": found.limit}
    if as_json:
        print(json.dumps(facts))
        return OK
    source = "ADJIT_CACHE_DIR" if os.environ.get("ADJIT_CACHE_DIR") else "the system's cache folder"
    rows = [
        ("folder", f"{found.directory} ({source})"),
        ("programs", str(entries)),
        ("size", f"{size_text(size)} of at most {size_text(found.limit)}"),
    ]
    print(columns(rows, indent=""))
    return OK
