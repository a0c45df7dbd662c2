# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a person reads it and as a program reads it; pure, private, no stability promised."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby

from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Hold,
    Plan,
    Step,
    Track,
    Verb,
)

IRREVERSIBLE = (Verb.DESTROY,)


def lines(plan: Plan) -> list[str]:
    """Return the ordered plan, a line a batch and replica, with the replicas serving on the way."""
    if not plan.batches:
        return [f"nothing to do: release {plan.release} runs ({_counts(plan.after)})"]
    result = [
        f"release {plan.release}: serving before {_counts(plan.before)}, "
        f"never below {_counts(plan.lowest)}, after {_counts(plan.after)}"
    ]
    for process, count in plan.before:
        if count and not dict(plan.lowest)[process] and dict(plan.after)[process]:
            result.append(f"NOT zero-downtime: nothing of {process} serves for a while")
    for number, batch in enumerate(plan.batches, start=1):
        if batch.hold is not None and not batch.tracks:
            result.append(f"{number:>3}. {gate(batch.hold)}")
        for track in batch.tracks:
            result.append(f"{number:>3}. {track.replica}: {_verbs(track)}{_weights(track)}")
    return result


def gate(hold: Hold) -> str:
    """Return what is waited for at a gate."""
    told = {
        "approval": "waits until it is promoted or aborted",
        "pause": f"waits {hold.seconds:.0f} s",
        "analysis": f"figures decide, after {hold.seconds:.0f} s",
        "delay": f"what was replaced is kept, drained, for {hold.seconds:.0f} s",
    }
    return f"gate {hold.gate}: {told[hold.kind]}"


def summary(plan: Plan) -> list[str]:
    """Return one line for each kind of thing that happens, with the replicas it happens to."""
    result = []
    for verb, label in (
        (Verb.START, "start"),
        (Verb.REGISTER, "register"),
        (Verb.DRAIN, "drain"),
        (Verb.DESTROY, "destroy"),
    ):
        names = [step.replica for step in plan.steps if step.verb is verb]
        if names:
            result.append(f"{label}: {', '.join(names)}")
    return result


def as_data(plan: Plan) -> dict[str, object]:
    """Return the plan as plain data: batches of steps, each with the executor it must run on."""
    return {
        "release": plan.release,
        "capacity": {
            "before": dict(plan.before),
            "lowest": dict(plan.lowest),
            "after": dict(plan.after),
        },
        "batches": [
            {
                "serving": dict(batch.serving),
                "hold": asdict(batch.hold) if batch.hold else {},
                "steps": [_step(step) for track in batch.tracks for step in track.steps],
            }
            for batch in plan.batches
        ],
        "stages": stages(plan),
        "irreversible": sorted({s.replica for s in plan.steps if s.verb in IRREVERSIBLE}),
    }


def no_data() -> dict[str, object]:
    """Return the plan of nothing."""
    return as_data(Plan("", (), (), (), ()))


def stages(plan: Plan, together: bool = True) -> list[dict[str, object]]:
    """Cut the plan where the executor changes; with engine and load balancer on one host it is one stage."""
    if together:
        return [{"executor": "host", "steps": len(plan.steps)}] if plan.steps else []
    cut = groupby(plan.steps, key=lambda step: step.executor.value)
    return [{"executor": executor, "steps": len(list(steps))} for executor, steps in cut]


def _step(step: Step) -> dict[str, object]:
    return {
        "verb": step.verb.value,
        "process": step.process,
        "replica": step.replica,
        "release": step.release,
        "executor": step.executor.value,
        **({"weights": dict(step.weights)} if step.weights else {}),
    }


def _verbs(track: Track) -> str:
    return ", ".join(step.verb.value for step in track.steps)


def _weights(track: Track) -> str:
    """Say which weights a step gives, the names with one weight together."""
    found: dict[int, list[str]] = {}
    for step in track.steps:
        for name, weight in step.weights if step.verb is Verb.WEIGH else ():
            found.setdefault(weight, []).append(name)
    return "".join(f" {weight} ({', '.join(names)})" for weight, names in found.items())


def _counts(capacity: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{process} {count}" for process, count in capacity)
