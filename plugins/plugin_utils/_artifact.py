# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a workflow gets of a run: small, flat and versioned; pure, private, no stability promised.

It is what C(set_stats) would leave. AWX hands it to the next node of a workflow as the variable C(immutable_cutover).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME, SCHEMA = "immutable_cutover", 1
LONGEST = 1000
_TEXTS = ("app", "release", "version", "image", "image_id", "status")


def stats(host: str, result: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return it as Ansible takes it from a result: once for the run, with an entry for each host."""
    mine = {
        **{key: str(result.get(key) or "") for key in _TEXTS},
        "changed": bool(result.get("changed")),
        "rolled_back": bool(result.get("rolled_back")),
        "seconds": round(seconds, 1),
        "replicas": {
            process: sum(row.get("state") == "serving" for row in rows)
            for process, rows in (result.get("after") or {}).items()
            if isinstance(rows, list)
        },
        "message": str(result.get("msg") or "")[:LONGEST],
    }
    content = {"schema": SCHEMA, **mine, "hosts": {host: mine}}
    return {"data": {NAME: content}, "per_host": False, "aggregate": True}
