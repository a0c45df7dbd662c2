# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module replica, without its main; private, no stability promised."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply import replicas as steps
from ansible_collections.immutable.cutover.plugins.module_utils._apply.replica_spec import (
    CONFIG_LABEL,
    REPLICA_SPEC,
    ReplicaWanted,
    read_replicas,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.scrub import (
    Scrubber,
    secret_values,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.warm_up import warm_up
from ansible_collections.immutable.cutover.plugins.module_utils._argspec import HOST_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._engine import factory as engines
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    Container,
    ContainerSpec,
    Engine,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
    ProbeError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    host_images,
    resolve_image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    LoadBalancer,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release import names

MODULE_SPEC: dict[str, dict[str, Any]] = {
    **HOST_SPEC,
    "app": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "replicas": {"type": "list", "elements": "dict", "required": True, "options": REPLICA_SPEC},
    "load_balancers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": factory.LOAD_BALANCER_SPEC,
    },
}
AT_ONCE = 16
DISCARD_GRACE = 5
"""Seconds a replica that failed to start, and so never had traffic, gets to end."""

_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One replica's part of the call: what is there, what will be, what is done for it, and how."""

    name: str
    before: Row
    after: Row
    actions: tuple[str, ...]
    work: Callable[[], Row]


def ensure_replicas(params: Mapping[str, Any], clock: Clock, *, check: bool) -> Row:
    """Bring every replica to the wanted state; all failures are told, not only the first."""
    present = params["state"] == "present"
    app = names.check_name(params["app"], "app")
    known = host_images(params["state_dir"])
    wanted = read_replicas(params["replicas"], present=present, cpus=os.cpu_count(), known=known)
    balancers = [factory.connect(options, clock) for options in params["load_balancers"]]
    engine = engines.connect(params["engine"], clock)
    if present:
        jobs = _presence(engine, app, wanted, params["state_dir"], clock)
    else:
        jobs = _absence(engine, app, wanted, balancers)
    before, after = [job.before for job in jobs], [job.after for job in jobs]
    result: Row = {
        "changed": any(job.actions for job in jobs),
        "before": before,
        "after": after,
        "diff": {"before": before, "after": after},
        "actions": [f"{action} {job.name}" for job in jobs for action in job.actions],
        "replicas": [],
    }
    if not check:
        result["replicas"] = _carry_out(jobs)
    return result


# Present.


def _presence(
    engine: Engine, app: str, wanted: Sequence[ReplicaWanted], state_dir: str, clock: Clock
) -> list[Job]:
    networks = engine.networks()
    for index, item in enumerate(wanted):
        if item.network not in networks:
            allowed = f"network not found on this host; have {', '.join(networks)}"
            raise InvalidInput(f"replicas[{index}].network", item.network, allowed)
    specs = [_container_spec(engine, app, item, state_dir) for item in wanted]
    return [_starting(engine, item, spec, clock) for item, spec in zip(wanted, specs, strict=True)]


def _starting(engine: Engine, wanted: ReplicaWanted, spec: ContainerSpec, clock: Clock) -> Job:
    found = _named(engine, wanted.name)
    runs = found is not None and steps.already_runs(found, spec)
    actions = [] if runs else ["start"]
    if found is not None and not runs:
        actions.insert(0, "remove left-over")
    return Job(
        name=wanted.name,
        before=_row(wanted.name, found),
        after=_row(wanted.name, found) if runs else _running_row(spec),
        actions=tuple(actions),
        work=lambda: _start(engine, wanted, spec, keep=runs, clock=clock),
    )


def _start(
    engine: Engine, wanted: ReplicaWanted, spec: ContainerSpec, *, keep: bool, clock: Clock
) -> Row:
    container = steps.start_replica(engine, spec, clock)
    try:
        history = steps.await_replica_ready(
            engine,
            container.id,
            wanted.probe,
            successes=wanted.successes,
            interval=wanted.interval,
            timeout=wanted.timeout,
            clock=clock,
        )
        if not keep:
            warm_up(container.address, wanted.probe.port, wanted.warm_up, clock=clock)
    except ProbeError as error:
        report = steps.failure_report(engine, container.id)
        if not keep:
            grace = min(DISCARD_GRACE, wanted.grace_period)
            steps.stop_replica(engine, container.id, signal=wanted.signal, grace_period=grace)
        outcome = "it was left running" if keep else "it was removed again"
        failure = ProbeError(f"{error.message}; {outcome}", **{**error.details, **report})
        sources = [secret.source for secret in wanted.secrets]
        Scrubber(lambda: secret_values(wanted.env, sources)).error(failure)
        raise failure from error
    return {
        "name": wanted.name,
        "id": container.id,
        "address": container.address,
        "port": wanted.probe.port,
        "ready_after": round(history[-1].at, 3),
    }


def _container_spec(
    engine: Engine, app: str, wanted: ReplicaWanted, state_dir: str
) -> ContainerSpec:
    image_id = _image_id(engine, wanted.image, state_dir)
    digests = {secret.name: _digest_of(secret.source) for secret in wanted.secrets}
    return ContainerSpec(
        name=wanted.name,
        image_id=image_id,
        network=wanted.network,
        labels={
            **wanted.labels,
            names.APP: app,
            names.PORT: str(wanted.probe.port),
            CONFIG_LABEL: wanted.digest(image_id, digests),
        },
        env=wanted.env,
        resources=wanted.resources,
        command=wanted.command,
        secrets=wanted.secrets,
        stop_signal=wanted.signal,
        secrets_dir=os.path.join(state_dir, "replicas"),
    )


def _image_id(engine: Engine, reference: str, state_dir: str) -> str:
    if not _IMAGE_ID.fullmatch(reference):
        return resolve_image(reference, state_dir, lambda ref: engine.image(ref) is not None)
    if engine.image(reference) is None:
        raise CutoverError(
            f"image {reference} not on host and no registry set; nothing was changed"
        )
    return reference


def _digest_of(source: str) -> str:
    try:
        with open(source, "rb") as stream:
            return hashlib.sha256(stream.read(1 << 20)).hexdigest()
    except OSError as error:
        raise InvalidInput(
            "secrets.source", source, f"must be a file on this host ({error.strerror})"
        ) from error


# Absent.


def _absence(
    engine: Engine, app: str, wanted: Sequence[ReplicaWanted], balancers: Sequence[LoadBalancer]
) -> list[Job]:
    refuse_registered(balancers, [item.name for item in wanted])
    return [_stopping(engine, app, item, balancers) for item in wanted]


def refuse_registered(balancers: Sequence[LoadBalancer], replicas: Sequence[str]) -> None:
    """Raise if any load balancer knows one of the replicas, or has work for it."""
    for driver in balancers:
        known = {target.name: target for target in driver.targets()}
        work = driver.in_flight(list(replicas))
        for name in replicas:
            total = work[name].total
            if name in known or total:
                state = known[name].admin.value if name in known else "gone"
                raise CutoverError(
                    f"{name} is still registered in {driver.where} ({state}, {total} in flight); drain and "
                    "deregister it first; nothing was stopped",
                    replica=name,
                    in_flight=total,
                )


def _stopping(
    engine: Engine, app: str, wanted: ReplicaWanted, balancers: Sequence[LoadBalancer]
) -> Job:
    found = _named(engine, wanted.name)
    if found is not None:
        steps.refuse_foreign(found, {names.APP: app})
    actions = ("stop", "remove") if found is not None and found.running else ("remove",)

    def work() -> Row:
        if found is None:
            return {"name": wanted.name}
        refuse_registered(balancers, [wanted.name])
        ended = steps.stop_replica(
            engine, found.id, signal=wanted.signal, grace_period=wanted.grace_period
        )
        return {"name": wanted.name, "id": found.id, **ended}

    return Job(
        name=wanted.name,
        before=_row(wanted.name, found),
        after=_row(wanted.name, None),
        actions=actions if found is not None else (),
        work=work,
    )


# Both.


def _named(engine: Engine, name: str) -> Container | None:
    found = engine.inspect(name)
    return found if found is not None and found.name == name else None


def _row(name: str, found: Container | None) -> Row:
    if found is None:
        return {"name": name, "state": "absent"}
    return {
        "name": name,
        "state": found.state,
        "image": found.image_id,
        "config": found.labels.get(CONFIG_LABEL, ""),
    }


def _running_row(spec: ContainerSpec) -> Row:
    return {
        "name": spec.name,
        "state": "running",
        "image": spec.image_id,
        "config": spec.labels[CONFIG_LABEL],
    }


def _carry_out(jobs: Sequence[Job]) -> list[Row]:
    with ThreadPoolExecutor(min(AT_ONCE, len(jobs))) as pool:
        outcomes = list(pool.map(_outcome, jobs))
    failed = [
        {"name": job.name, "msg": outcome.message, **outcome.details}
        for job, outcome in zip(jobs, outcomes, strict=True)
        if isinstance(outcome, CutoverError)
    ]
    done = [outcome for outcome in outcomes if not isinstance(outcome, CutoverError)]
    if failed:
        changed = any(
            job.actions and not isinstance(outcome, CutoverError)
            for job, outcome in zip(jobs, outcomes, strict=True)
        )
        told = "; ".join(f"{entry['name']}: {entry['msg']}" for entry in failed)
        raise CutoverError(
            f"{len(failed)} of {len(jobs)} replicas failed: {told}",
            errors=failed,
            replicas=done,
            changed=changed,
        )
    return done


def _outcome(job: Job) -> Row | CutoverError:
    try:
        return job.work()
    except CutoverError as error:
        return error
