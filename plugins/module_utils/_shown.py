# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times, spans and holders as a person reads them; pure, private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def who(holder: Mapping[str, Any]) -> str:
    """Name a run's holder: person, host, job with its link, run."""
    job = f"job {holder['job']}" if holder.get("job") else ""
    link = f" ({holder['url']})" if holder.get("url") else ""
    parts = (
        holder.get("user") or "",
        f"run {holder['run']}" if holder.get("run") else "",
        f"host {holder['host']}" if holder.get("host") else "",
        job + link,
    )
    return ", ".join(part for part in parts if part)


def moment(time: float) -> str:
    """Show a time in UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def span(seconds: float) -> str:
    """Show how long something took or is ago, in the unit a person would choose."""
    whole = max(0.0, seconds)
    if whole < 10:
        return f"{whole:.1f} s"
    if whole < 120:
        return f"{whole:.0f} s"
    if whole < 7200:
        return f"{whole / 60:.0f} min"
    if whole < 172800:
        return f"{whole / 3600:.0f} h"
    return f"{whole / 86400:.0f} days"


def age(stamp: str, now: float) -> float | None:
    """Return the seconds since an engine's time stamp, which has more digits than Python reads; None: it has none."""
    try:
        began = datetime.fromisoformat(f"{stamp[:19]}+00:00")
    except ValueError:
        return None
    digits = stamp[19:].removeprefix(".").removesuffix("Z")
    fraction = float(f"0.{digits}") if digits.isdecimal() else 0.0
    return max(0.0, now - began.timestamp() - fraction)
