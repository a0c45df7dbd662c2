# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journal of an app tells of its runs, read only; private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils import _history
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_name

MOST_ROWS = 50_000


def journal_info(params: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """Return the runs that are asked for, as data and as a person reads them."""
    app, last = check_name(params["app"], "app"), params["last"]
    if not 1 <= last <= 1000:
        raise InvalidInput("last", last, "must be a whole number, 1-1000")
    journal = Journal(params["state_dir"], app)
    rows, unreadable = journal.look(MOST_ROWS)
    holder = Lease(params["state_dir"], app, clock).read().holder
    run = holder.run if holder else ""
    found = _history.chosen(
        _history.stories(rows), params["run"] or "", params["release"] or "", last
    )
    return {
        "app": app,
        "file": journal.path,
        "unreadable": unreadable,
        "runs": [_history.as_data(story, run) for story in found],
        "rows": [dict(row) for story in found for row in story.rows],
        "lines": _history.lines(found, run, replicas=False),
        "details": _history.lines(found, run, replicas=True),
        "shown": bool(params["show"]),
    }
