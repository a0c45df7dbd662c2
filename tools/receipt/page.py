# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The receipt as one HTML page that needs nothing else and opens offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tools.receipt.chart import LEFT, RIGHT, WIDTH, Range, Tick, Timeline, ranges, timeline
from tools.receipt.chart import version_styles as styles_of

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Section:
    """What the template needs of one cutover."""

    data: Mapping[str, Any]
    timeline: Timeline
    ranges: list[Range]
    ticks: list[Tick]
    versions: list[str]
    longest_drain: float | None


def _section(part: Mapping[str, Any], styles: Mapping[str, str]) -> Section:
    rows, ticks = ranges(part["latency_ms"])
    shown = {replica["version"] for replica in part["replicas"]}
    shown |= {name for ignored, counted in part["versions"] for name in counted}
    return Section(
        data=part,
        timeline=timeline(part, styles),
        ranges=rows,
        ticks=ticks,
        versions=[name for name in styles if name in shown],
        longest_drain=max(part["drain_seconds"].values(), default=None),
    )


def _count(value: int) -> str:
    return f"{value:,}"


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _arrow(name: str) -> str:
    return name.replace("->", "\u2192")


def render_html(receipt: Mapping[str, Any]) -> str:
    """The page; everything in it is escaped, and nothing in it is loaded from elsewhere."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=_count, clock=_clock, arrow=_arrow)
    styles = styles_of(receipt["cutovers"])
    return environment.get_template("receipt.html.j2").render(
        receipt=receipt,
        styles=styles,
        sections=[_section(part, styles) for part in receipt["cutovers"]],
        width=WIDTH,
        left=LEFT,
        right=WIDTH - RIGHT,
    )
