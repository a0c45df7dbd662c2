# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From journal rows to runs as a person asks about them; pure, private, no stability promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._journal import ENDS, RUN
from ansible_collections.immutable.cutover.plugins.module_utils._shown import moment, span, who

Record = Mapping[str, Any]
UNDER_WAY, NO_END = "under way", "no end recorded"
_KINDS = {
    "": "replace",
    "previous": "rollback",
    "recover": "recover",
    "finish": "recover",
    "undo": "recover",
    "abort": "abort",
    "promote": "promote",
    "tasks": "tasks",
}
TASK = "task"
"""The step of the rows about one-off tasks; a run of nothing else, without a beginning, is a command of a person."""


@dataclass(frozen=True)
class Story:
    """One run: who and when, from which release to which, how it ended, and what was done to each replica."""

    run: str
    rows: tuple[Record, ...]
    begin: Record = field(default_factory=dict)
    end: Record = field(default_factory=dict)

    @property
    def began(self) -> float:
        """When it began, in seconds since the epoch."""
        first = self.begin or self.rows[0]
        return float(first.get("time", 0.0))

    @property
    def release(self) -> str:
        """The release that it worked towards."""
        return str((self.begin or self.end or self.rows[-1]).get("release", ""))

    @property
    def version(self) -> str:
        """Its version."""
        return str((self.begin or self.end or self.rows[-1]).get("version", ""))

    def outcome(self, holder: str) -> str:
        """How it ended. C(holder): the run that has the lease now."""
        if self.end:
            return str(self.end.get("outcome", ""))
        if self.run == holder:
            return UNDER_WAY
        if self.by_hand and self.rows[-1].get("outcome") != "begin":
            return "done" if self.rows[-1].get("outcome") == "ok" else "failed"
        recorded = any(row.get("step") == "record" for row in self.rows)
        return "done" if recorded and not self.begin else NO_END

    @property
    def by_hand(self) -> bool:
        """Whether it is a command that a person ran in the image: it has no lease, and no rows about the whole."""
        return not self.begin and all(row.get("step") == TASK for row in self.rows)

    @property
    def seconds(self) -> float:
        """From its first row to its last one; a row that another run wrote about its end does not count."""
        own = [row for row in self.rows if row.get("outcome") != "interrupted"] or self.rows
        return round(max(float(row.get("time", 0.0)) for row in own) - self.began, 3)


def stories(rows: Iterable[Record]) -> list[Story]:
    """Return the runs that rows tell about, the oldest first."""
    grouped: dict[str, list[Record]] = {}
    for row in rows:
        grouped.setdefault(str(row.get("run", "")), []).append(row)
    return [_story(run, own) for run, own in grouped.items() if run]


def _story(run: str, rows: Sequence[Record]) -> Story:
    whole = [row for row in rows if row.get("step") == RUN]
    begins = [row for row in whole if row.get("outcome") == "begin"]
    ends = [row for row in whole if row.get("outcome") in ENDS]
    # What a run says of its own end is better known than what its successor found.
    ends.sort(key=lambda row: row.get("outcome") != "interrupted")
    return Story(run, tuple(rows), begins[0] if begins else {}, ends[-1] if ends else {})


def chosen(found: Iterable[Story], run: str, release: str, last: int) -> list[Story]:
    """Return the last of those runs that are asked for."""
    wanted = [
        story
        for story in found
        if run in ("", story.run) and release in ("", story.release, story.version)
    ]
    return wanted[-last:]


def as_data(story: Story, holder: str) -> dict[str, object]:
    """Return a run as plain data."""
    detail = _detail(story.begin)
    return {
        "run": story.run,
        "kind": _kind(story),
        "outcome": story.outcome(holder),
        "began": story.began,
        "seconds": story.seconds,
        "epoch": story.rows[0].get("epoch", 0),
        "release": story.release,
        "version": story.version,
        "image": detail.get("image", ""),
        "image_id": detail.get("image_id", ""),
        "before": detail.get("from", {}),
        "holder": detail.get("holder", {}),
        "message": _detail(story.end).get("message", ""),
        "rolled_back": bool(_detail(story.end).get("rolled_back", False)),
        "replicas": _replicas(story),
        "events": _events(story),
    }


def lines(found: Sequence[Story], holder: str, *, replicas: bool) -> list[str]:
    """Return the runs as a person reads them, the newest last, with an empty line between two."""
    result: list[str] = []
    for story in found:
        result += ([""] if result else []) + _block(as_data(story, holder), replicas)
    return result or ["no run is recorded"]


def _block(run: Mapping[str, Any], replicas: bool) -> list[str]:
    before, holder = run["before"], run["holder"]
    way = " -> ".join(
        word for word in (_named(before), _named(run)) if word
    )  # the first deployment comes from nowhere
    block = [f"{moment(run['began'])}  {run['kind']} {way}: {_ending(run)}"]
    if holder:
        block.append(f"    by {who(holder)}")
    if run["image"]:
        block.append(f"    image {run['image']}")
    done = _totals(run["replicas"])
    if done:
        block.append(f"    {done}")
    if run["message"]:
        block.append(f"    {run['message']}")
    if replicas:
        block += [f"      {event}" for event in run["events"]]
        block += [f"      {name}: {_steps(steps)}" for name, steps in run["replicas"].items()]
    return block


def _ending(run: Mapping[str, Any]) -> str:
    words = {
        UNDER_WAY: f"under way for {span(run['seconds'])}",
        NO_END: "no end recorded: it died, or still runs without the lease",
        "held": "held at a gate: promote or abort it",
        "delayed": f"done after {span(run['seconds'])}; what it replaced is kept for a while",
        "interrupted": f"interrupted after {span(run['seconds'])}: it died, and another run went on",
    }
    default = f"{run['outcome']} after {span(run['seconds'])}"
    ending = words.get(run["outcome"], default)
    return f"{ending}, rolled back" if run["rolled_back"] else ending


def _named(release: Mapping[str, Any]) -> str:
    version, identity = release.get("version") or "", release.get("release") or ""
    return f"{version} ({identity})" if version and identity else version or identity


def _kind(story: Story) -> str:
    to = str(_detail(story.begin).get("to", ""))
    if story.by_hand:
        return "command"
    return _KINDS.get(to, "rollback") if story.begin else "run"


def _replicas(story: Story) -> dict[str, list[dict[str, object]]]:
    """Return what was done to each replica; a step that has a beginning only is shown as not ended."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for row in story.rows:
        name = str(row.get("replica") or "")
        if name:
            found.setdefault(name, {})[str(row.get("step", ""))] = {
                "step": row.get("step", ""),
                "outcome": row.get("outcome", ""),
                "seconds": row.get("seconds", 0.0),
                "version": row.get("version", ""),
            }
    return {name: list(steps.values()) for name, steps in found.items()}


def _events(story: Story) -> list[str]:
    """Return what happened to the release as a whole: gates, promotions, verdicts."""
    found = []
    for row in story.rows:
        if (
            row.get("replica")
            or row.get("step") in (RUN, "record")
            or row.get("outcome") == "begin"
        ):
            continue
        detail = _detail(row)
        about = detail.get("gate") or detail.get("task")
        gate = f" {about}" if about else ""
        reason = f", {detail['reason']}" if detail.get("reason") else ""
        took = f" after {span(float(row.get('seconds', 0.0)))}" if row.get("step") == TASK else ""
        found.append(f"{row.get('step')}{gate}: {row.get('outcome')}{took}{reason}")
    return found


def _totals(replicas: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    words = (("start", "started"), ("activate", "activated"), ("destroy", "destroyed"))
    counts = [
        (
            sum(
                any(step["step"] == verb and step["outcome"] == "ok" for step in steps)
                for steps in replicas.values()
            ),
            word,
        )
        for verb, word in words
    ]
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def _steps(steps: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{step['step']} {step['seconds']:g} s"
        if step["outcome"] == "ok"
        else f"{step['step']} {'not ended' if step['outcome'] == 'begin' else step['outcome']}"
        for step in steps
    )


def _detail(row: Record) -> Mapping[str, Any]:
    detail = row.get("detail")
    return detail if isinstance(detail, Mapping) else {}
