# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""An open-loop load generator that accounts for every request it planned.

Planned ids with planned send times, exactly one outcome each, latency from the planned send time,
and never a retry: what a client would have lost is what is counted.
"""

from __future__ import annotations

from tools.loadgen.load import Load, Result
from tools.loadgen.outcome import FAILURES, OK, Row, read_rows
from tools.loadgen.plan import DEFAULT_MIX

__all__ = ["DEFAULT_MIX", "FAILURES", "OK", "Load", "Result", "Row", "read_rows"]
