# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A timeline as one HTML page that needs nothing else and opens offline; pure, private, no stability promised."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from ansible_collections.immutable.cutover.plugins.plugin_utils._timeline import (
    Event,
    Gate,
    Lane,
    Row,
    Span,
    Timeline,
    timeline,
)

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 1000, 240, 30, 40, 26, 14
_LONGEST_NAME = 30
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_TICKS = 12
_COLOURS = 4
_STYLE = """
:root { color-scheme: light dark; --page: light-dark(#f6f6f3, #131312); --card: light-dark(#fff, #1c1c1a);
  --ink: light-dark(#14140f, #f4f4ef); --soft: light-dark(#5b5a54, #b5b4ac); --line: light-dark(#e4e3dc, #32322e);
  --wait: light-dark(#c9c8c0, #55544e); --drain: light-dark(#eda100, #e0a21b); --bad: light-dark(#c93636, #ef6a63);
  --v0: light-dark(#9b9a93, #77766f); --v1: light-dark(#2a78d6, #3987e5); --v2: light-dark(#1a9d72, #23a97c);
  --v3: light-dark(#7a5bd0, #9378e6); --v4: light-dark(#c2577f, #d5719a); }
body { margin: 0; padding: 28px 20px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 20px 24px; }
h1 { font-size: 22px; margin: 0; } p { margin: 2px 0 14px; color: var(--soft); }
ul { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 0; padding: 0; list-style: none; font-size: 13px;
  color: var(--soft); }
li i { display: inline-block; width: 14px; height: 10px; border-radius: 2px; margin-right: 6px; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .name { fill: var(--ink); font-family: ui-monospace, monospace; } line { stroke: var(--line); }
line.failed { stroke: var(--bad); stroke-width: 2; } line.verdict { stroke: var(--v2); stroke-width: 2; }
.gate { fill: var(--wait); opacity: 0.4; } .v0 { --own: var(--v0); } .v1 { --own: var(--v1); } .v2 { --own: var(--v2); }
.v3 { --own: var(--v3); } .v4 { --own: var(--v4); } .serving, .share { fill: var(--own); }
.starting { fill: var(--wait); }
.ready { fill: color-mix(in srgb, var(--own) 45%, var(--wait)); } .draining { fill: var(--drain); }
.idle { fill: color-mix(in srgb, var(--drain) 40%, var(--card)); } .task { fill: var(--soft); }
.failed { fill: var(--bad); } td.failed { color: var(--bad); }
table { border-collapse: collapse; width: 100%; margin-top: 16px; font-size: 13.5px; }
td, th { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { white-space: nowrap; font-variant-numeric: tabular-nums; }
"""
_LEGEND = (
    ("starting", "background: var(--wait)"),
    ("draining", "background: var(--drain)"),
    ("waiting at a gate", "background: var(--wait); opacity: 0.4"),
    ("failed", "background: var(--bad)"),
)


def page(rows: Iterable[Row], title: str = "") -> str:
    """Return the page; everything in it is escaped, and nothing in it is loaded from elsewhere."""
    found = timeline(rows)
    if found is None:
        heading, body = title or "Timeline", "<p>The journal has no rows of it.</p>"
    else:
        heading, body = title or f"Timeline of {found.app}", _body(found)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(heading)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{escape(heading)}</h1>\n{body}</main></body></html>\n"
    )


def _body(found: Timeline) -> str:
    styles = _styles(found)
    when = datetime.fromtimestamp(found.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    known = "".join(
        f'<li class="{style}"><i style="background: var(--own)"></i>{escape(name)}</li>'
        for name, style in styles.items()
    )
    more = "".join(f'<li><i style="{style}"></i>{name}</li>' for name, style in _LEGEND)
    return (
        f"<p>{when}, {found.until - found.since:.1f} s</p>\n<ul>{known}{more}</ul>\n"
        f"{_drawing(found, styles)}\n{_table(found)}"
    )


def _styles(found: Timeline) -> dict[str, str]:
    """Return a colour for each version, in the order in which they appear."""
    versions = dict.fromkeys(lane.version for lane in found.lanes if lane.version)
    return {name: f"v{number % _COLOURS + 1}" for number, name in enumerate(versions)}


def _drawing(found: Timeline, styles: dict[str, str]) -> str:
    bottom = TOP + ROW * max(1, len(found.lanes))
    parts = [_tick(found, second, bottom) for second in _seconds(found)]
    parts += [_gate(found, gate, bottom) for gate in found.gates]
    for number, lane in enumerate(found.lanes):
        parts.append(_lane(found, lane, TOP + ROW * number, styles.get(lane.version, "v0")))
    parts += [_event(found, event, bottom) for event in found.events if event.kind != "run"]
    return (
        f'<svg viewBox="0 0 {WIDTH} {bottom + 44}" role="img" aria-label="Timeline of the replicas">\n'
        + "\n".join(parts)
        + f'\n<text x="{WIDTH - RIGHT}" y="{bottom + 36}" text-anchor="end">seconds</text></svg>'
    )


def _x(found: Timeline, time: float) -> float:
    part = (time - found.since) / (found.until - found.since)
    return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(part, 0.0), 1.0), 2)


def _seconds(found: Timeline) -> list[float]:
    span = found.until - found.since
    step = next((step for step in _STEPS if span / step <= _TICKS), span / _TICKS)
    return [step * number for number in range(int(span // step) + 1)]


def _tick(found: Timeline, second: float, bottom: float) -> str:
    x = _x(found, found.since + second)
    return (
        f'<line x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{bottom}"/>'
        f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{second:g}</text>'
    )


def _box(found: Timeline, since: float, until: float, top: float, height: float) -> str:
    x = _x(found, since)
    width = max(1.0, round(_x(found, until) - x, 2))
    return f'x="{x}" y="{top}" width="{width}" height="{height}"'


def _gate(found: Timeline, gate: Gate, bottom: float) -> str:
    box = _box(found, gate.since, gate.until, TOP - 12, bottom - TOP + 12)
    title = f"gate {gate.name} ({gate.kind}): {gate.until - gate.since:.1f} s{', still waiting' if gate.open else ''}"
    name = f'<text x="{_x(found, gate.since)}" y="{TOP - 16}">{escape(gate.name)}</text>'
    return f'<rect class="gate" {box}><title>{escape(title)}</title></rect>{name}'


def _lane(found: Timeline, lane: Lane, top: float, style: str) -> str:
    name = (
        lane.name if len(lane.name) <= _LONGEST_NAME else f"\u2026{lane.name[1 - _LONGEST_NAME :]}"
    )
    label = f'<text class="name" x="{LEFT - 12}" y="{top + BAR - 2.5}" text-anchor="end">{escape(name)}</text>'
    return label + "".join(_span(found, lane, span, top, style) for span in lane.spans)


def _span(found: Timeline, lane: Lane, span: Span, top: float, style: str) -> str:
    long = f"{span.until - span.since:.1f} s"
    if span.state != "share":
        box = _box(found, span.since, span.until, top, BAR)
        title = f"{lane.name} ({lane.version or 'unknown version'}) {span.state}: {long}"
        return (
            f'<rect class="{span.state} {style}" rx="2" {box}><title>{escape(title)}</title></rect>'
        )
    height = round(max(1.0, BAR * span.share / 100), 2)
    box = _box(found, span.since, span.until, top + BAR - height, height)
    title = f"{lane.version} has {span.share:g} % of the requests of {lane.name.removeprefix('share: ')}: {long}"
    text = f'<text x="{_x(found, span.since) + 3}" y="{top + BAR - 3}">{span.share:g} %</text>'
    return f'<rect class="share {style}" {box}><title>{escape(title)}</title></rect>{text}'


def _event(found: Timeline, event: Event, bottom: float) -> str:
    x = _x(found, event.time)
    line = f'<line class="{event.kind}" x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{bottom}">'
    return f"{line}<title>{escape(event.text)}</title></line>"


def _table(found: Timeline) -> str:
    rows = "".join(
        f'<tr><td>{event.time - found.since:.1f}</td><td class="{event.kind}">{escape(event.text)}</td></tr>\n'
        for event in found.events
    )
    return (
        f"<table><tr><th>second</th><th>what happened</th></tr>\n{rows}</table>\n" if rows else ""
    )
