# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From module parameters to a deployment and back to a result; private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import (
    BoundedClock,
    Outcome,
    Resume,
    Turn,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.choice import (
    ABORT,
    PROMOTE,
    other_than,
    refuse_other,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.deployment import (
    Deployment,
    stands_at,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.describe import (
    describe_world,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._engine import factory
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    AbortFirst,
    CutoverError,
    LeaseHeld,
    Overtaken,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release import render
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec

RESTS = {"approval": "held", "delay": "delayed"}


def plan_release(params: Mapping[str, Any]) -> dict[str, Any]:
    """Validate everything, observe, and return the plan; changes nothing."""
    return _nothing_under_way(params) or plan_of(_deployment(params))


def _nothing_under_way(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of promoting or aborting where nothing is under way: nothing happens (RO-11).

    Nor does anything where another release than the one that is to be aborted is.
    """
    if params["to"] not in (ABORT, PROMOTE):
        return {}
    app, approved = parse_spec(params["spec"]).app, params.get("approved", "")
    releases = Releases(params["state_dir"], app)
    if releases.begun() is not None:
        other = other_than(approved, releases) if params["to"] == ABORT else ""
        told = f"nothing to abort: release {other} of {app} is under way, not {approved}; left as it is"
        return _nothing(app, releases, told) if other else {}
    if params["to"] == PROMOTE:
        runs = releases.all()[-1:]
        refuse_other(app, approved, runs[0] if runs else None)
    return _nothing(app, releases, f"nothing to {params['to']}: no release of {app} is under way")


def _overtaken(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a run that came back to retire what it replaced, after another run came in between."""
    turn = turn_of(params["turn"])
    app = parse_spec(params["spec"]).app
    releases = Releases(params["state_dir"], app)
    undisputed = releases.completed()[-1:] == [turn.retires] and releases.begun() is None
    if turn.epoch or not turn.retires or undisputed:
        return {}
    told = f"another run came in between; nothing more to do for release {turn.retires}"
    return _nothing(app, releases, told)


def _nothing(app: str, releases: Releases, line: str) -> dict[str, Any]:
    runs = releases.all()[-1:]
    return {
        "changed": False,
        "needed": False,
        "app": app,
        "release": runs[0].id if runs else "",
        "version": runs[0].version if runs else "",
        "image": runs[0].image if runs else "",
        "image_id": runs[0].image_id if runs else "",
        "lines": [line],
        "summary": [],
        "hold": {},
        "before": {},
        "after": {},
        **render.no_data(),
    }


def plan_of(deployment: Deployment) -> dict[str, Any]:
    """Return the plan of a deployment."""
    deployment.check_commands()
    plan = deployment.plan()
    deployment.check_space(plan)
    lines = render.lines(plan)
    if plan.batches:
        lines[1:1] = deployment.release.spec.floors()
    loose_ends = [] if plan.batches else list(deployment.loose_ends)
    hold = stands_at(plan)
    rests = hold is not None and deployment.rests(hold)
    holder = deployment.lease_holder()
    if holder is not None and not plan.batches:
        loose_ends.append(f"wait for the lease, or take it over: {holder} has it")
    lines = loose_ends or lines
    if deployment.way and (plan.batches or loose_ends):
        lines.insert(0, deployment.way)
    if left := deployment.left_half_way():
        lines.insert(0, f"abort first, unless its run lives: release {left.release}, left half way")
    if deployment.held is not None:
        first = "wait until it is promoted or aborted" if deployment.waits else "abort first"
        lines.insert(0, f"{first}: {_gate_of(deployment.held)}")
    after = deployment.expected(plan)
    return {
        "changed": False,
        "needed": bool(plan.batches or loose_ends)
        and not (rests and hold and hold.kind == "approval"),
        "hold": asdict(hold) if rests and hold else {},
        "app": deployment.app,
        "release": deployment.release.id,
        "version": deployment.release.spec.version,
        "image": deployment.release.spec.image,
        "image_id": deployment.release.image_id,
        "lines": lines,
        "summary": render.summary(plan),
        "before": describe_world(deployment.world),
        "after": describe_world(after),
        **render.as_data(plan),
    }


def apply_release(params: Mapping[str, Any]) -> dict[str, Any]:
    """Work for one turn; a lease that somebody else holds is an answer, not a failure.

    The first turn of a run also returns the plan, and where that is empty takes no lease and does nothing.
    """
    if idle := unneeded(params):
        return idle
    try:
        deployment = _deployment(params)
    except CutoverError:
        _give_back(params)
        raise
    return apply_to(deployment, params)


def _give_back(params: Mapping[str, Any]) -> None:
    """Give back the lease that an earlier call of this run has kept, for this one cannot even begin."""
    turn = turn_of(params["turn"])
    if turn.epoch:
        app = parse_spec(params["spec"]).app
        Lease(params["state_dir"], app, SystemClock()).release(turn.holder.run)


def unneeded(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a call that has nothing to do, whatever is seen; empty where it has."""
    found = _nothing_under_way(params) or _overtaken(params)
    return {**found, **_IDLE} if found else {}


_IDLE: Mapping[str, Any] = {"status": "done", "actions": [], "progress": [], "journal": []}


def apply_to(deployment: Deployment, params: Mapping[str, Any]) -> dict[str, Any]:
    """Work on a deployment for one turn."""
    idle, turn = dict(_IDLE), turn_of(params["turn"])
    if deployment.held is not None and deployment.waits:
        # Whoever promotes or aborts it needs the lease before this run.
        deployment.leave_line(turn.holder.run)
        return waits_for(deployment.held, turn)
    if deployment.held is not None:
        return aborts_first(deployment.held)
    plan = {} if turn.epoch else plan_of(deployment)
    if plan and (plan["hold"] or not plan["needed"]):
        deployment.leave_line(turn.holder.run)
        return {**plan, **idle, "status": RESTS[plan["hold"]["kind"]] if plan["hold"] else "done"}
    before = describe_world(deployment.world)
    try:
        outcome, rows = deployment.work(turn)
    except Overtaken as error:
        return {"changed": False, "status": "again", "message": error.message}
    except AbortFirst as error:
        # With the lease, which the abort goes on with: it is the same run.
        return {
            "changed": False,
            "status": "abort_first",
            "held": {"release": error.release, "held": ""},
        }
    except LeaseHeld as error:
        return {"changed": False, "status": "waiting", "message": error.message, **error.details}
    done = list(outcome.actions)
    if outcome.status in ("done", "delayed"):
        done += deployment.loose_ends
        if turn.take_over and not turn.epoch:
            done.append(f"give back the lease that a dead run had with epoch {turn.take_over}")
    return {
        "changed": bool(done),
        "status": outcome.status,
        "app": deployment.app,
        "release": deployment.release.id,
        "version": deployment.release.spec.version,
        "image": deployment.release.spec.image,
        "image_id": deployment.release.image_id,
        "epoch": deployment.epoch,
        "lines": plan.get("lines", []),
        "hold": asdict(outcome.hold) if outcome.hold else {},
        "actions": done,
        "progress": list(outcome.progress),
        "before": before,
        "after": describe_world(outcome.world),
        "journal": [asdict(row) for row in rows],
        "resume": resume_data(outcome.resume),
        **failure_of(outcome),
    }


def waits_for(held: Begun, turn: Turn) -> dict[str, Any]:
    """Return the answer of a run that waits for a release at a gate; it has no place in line."""
    return {
        "changed": False,
        "status": "waiting",
        "message": f"{_gate_of(held)}: promote or abort it",
        "epoch": 0,
        "expires_in": turn.waits,
    }


def aborts_first(held: Begun) -> dict[str, Any]:
    """Return the answer of a run before which a release at a gate is to be taken away."""
    return {"changed": False, "status": "abort_first", "held": asdict(held)}


def _gate_of(begun: Begun) -> str:
    return f"release {begun.release}, held at gate {begun.held}"


def _deployment(params: Mapping[str, Any]) -> Deployment:
    clock = BoundedClock(SystemClock())
    engine = factory.connect(params["engine"])
    return Deployment(params, engine, clock)


def turn_of(data: Mapping[str, Any]) -> Turn:
    """Read the option C(turn)."""
    resume = data["resume"] or {}
    return Turn(
        holder=Holder(
            **{key: data["holder"].get(key) or "" for key in Holder.__dataclass_fields__}
        ),
        ttl=data["ttl"],
        seconds=data["seconds"],
        resume=Resume(
            began=_numbers(resume.get("began", {})),
            settled=frozenset(resume.get("settled", [])),
            checked=frozenset(resume.get("checked", [])),
            pending=_numbers(resume.get("pending", {})),
            counts=_numbers(resume.get("counts", {})),
            windows=dict(resume.get("windows", {})),
            prepared=frozenset(resume.get("prepared", [])),
        ),
        take_over=data["take_over"],
        epoch=data["epoch"],
        undo_follows=data["undo_follows"],
        retires=data["retires"],
        undoes=data.get("undoes", ""),
        waits=data.get("waits", 0.0),
        gone=tuple(data.get("gone", ())),
    )


def _numbers(data: Mapping[str, Any]) -> dict[str, float]:
    return {str(key): float(value) for key, value in data.items()}


def resume_data(resume: Resume) -> dict[str, object]:
    """Return what the next call is told, as plain data."""
    return {
        "began": dict(resume.began),
        "settled": sorted(resume.settled),
        "checked": sorted(resume.checked),
        "pending": dict(resume.pending),
        "counts": dict(resume.counts),
        "windows": dict(resume.windows),
        "prepared": sorted(resume.prepared),
    }


def failure_of(outcome: Outcome) -> dict[str, Any]:
    """Return what is known of a failure; nothing where there was none."""
    if outcome.error is None:
        return {}
    step = outcome.failed_step
    return {
        "error": outcome.error.message,
        "error_details": _plain(outcome.error),
        "worth_undoing": outcome.worth_undoing,
        "failed_step": {"verb": step.verb.value, "replica": step.replica} if step else {},
    }


def _plain(error: CutoverError) -> dict[str, object]:
    return {key: _plain_value(value) for key, value in error.details.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain_value(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
