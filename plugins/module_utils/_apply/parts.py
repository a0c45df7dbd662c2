# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One release by several hosts: the replicas' host does its part, each load balancer's host its own; private.

The controller carries what each host saw to the others (C(release_part), the action plugin). Every part observes what
is its own anew, plans with the same planner and works for a bounded time; only the host of the replicas says "done".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply import front
from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import (
    BoundedClock,
    Outcome,
    Run,
    Turn,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.connect import connect_all
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    GroupCommit,
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.deployment import Deployment
from ansible_collections.immutable.cutover.plugins.module_utils._apply.executor import Executor
from ansible_collections.immutable.cutover.plugins.module_utils._apply.fence import Fence
from ansible_collections.immutable.cutover.plugins.module_utils._apply.handed import (
    HandedBalancer,
    HandedEngine,
    balancer_data,
    containers_data,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.run_log import RunLog
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._engine import factory
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal, Row
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release import names
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Reach
from ansible_collections.immutable.cutover.plugins.module_utils._release.part import Part
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import (
    decide,
    reach,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    parse_spec,
    release_id,
    to_mapping,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Executor as Where,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World

Views = Sequence[Mapping[str, Any]]
SAMPLE = 5.0
"""Seconds between two looks at the figures of an analysis that has not had enough requests yet."""


@dataclass(frozen=True)
class LocalRelease(Release):
    """A release at one load balancer's host: only the processes that it balances, under the whole release's ID."""

    whole: str = ""
    reach: Reach = Reach.RETIRE

    @property
    def id(self) -> str:
        """The release ID."""
        return self.whole

    def goal(self) -> Goal:
        """Return what this host works towards; the host of the replicas stands at the gates."""
        return replace(super().goal(), gates=(), reach=self.reach)


def run_part(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Do the part that C(part.side) names."""
    side = params["part"].get("side")
    if side == "look":
        return {"changed": False, "view": _look(params)}
    if side == "balancer":
        return _balance(params)
    if side == "give_back":
        return {"changed": _give_back(params)}
    return _host(params, check)


# The host of the replicas.


def _give_back(params: Mapping[str, Any]) -> bool:
    """End a run that failed elsewhere: say so in the journal, and give its lease back."""
    spec, run = parse_spec(params["spec"]), params["turn"]["holder"]["run"]
    lease = Lease(params["state_dir"], spec.app, SystemClock())
    state, handed = lease.read(), params["part"].get("release") or {}
    if state.holder is None or state.holder.run != run:
        return False
    release = LocalRelease(spec, handed.get("image_id", ""), whole=handed.get("id", ""))
    log = RunLog(Journal(params["state_dir"], spec.app), run, release, SystemClock())
    log.fail(CutoverError(str(params["part"].get("message", ""))), state.epoch)
    return lease.release(run)


def _host(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    views: Views = params["part"].get("views") or []
    resume = params["turn"]["resume"] or {}
    resume = {**resume, **{key: _common(views, key) for key in ("settled", "checked")}}
    turn = {**params["turn"], "resume": resume}
    if idle := front.unneeded(params):
        return {**idle, "handed": {}}
    deployment = HostPart(params, views, turn["epoch"])
    if check or turn.get("plan"):
        return front.plan_of(deployment)
    result = front.apply_to(deployment, {**params, "turn": turn})
    return {**result, "handed": deployment.handed()}


def _common(views: Views, key: str) -> list[str]:
    """Return the replicas of which every load balancer's host says so."""
    found = [set(view.get(key, [])) for view in views]
    return sorted(set.intersection(*found)) if found else []


class HostPart(Deployment):
    """A deployment that sees its load balancers as they were handed to it."""

    def __init__(self, params: Mapping[str, Any], views: Views, epoch: int) -> None:
        self._views = views
        self.watch = 0.0
        clock = BoundedClock(SystemClock())
        engine = factory.connect(params["engine"])
        super().__init__(params, engine, clock)
        seen = [int(view["epoch"]) for view in views]
        self.beyond = max(seen, default=0)
        self.part = Part(Where.ENGINE, bool(epoch) and all(one == epoch for one in seen))

    def connect(self, spec: AppSpec) -> dict[str, tuple[Balancer, ...]]:
        """Return the load balancers as they were seen."""
        left = {view["host"]: list(view["backends"]) for view in self._views}
        found: dict[str, list[Balancer]] = {}
        for index, ref in enumerate(spec.load_balancers):
            rows = left.get(ref.host) or []
            if not rows:
                raise CutoverError(
                    f"load_balancers[{index}].host: {ref.host} was not looked at; nothing was changed"
                )
            driver = HandedBalancer(rows.pop(0))
            found.setdefault(ref.process, []).append(Balancer(driver, GroupCommit(driver)))
        return {process: tuple(balancers) for process, balancers in found.items()}

    def work(self, turn: Turn) -> tuple[Outcome, list[Row]]:
        """Work, and remember what was seen last."""
        outcome, rows = super().work(turn)
        self.world = outcome.world
        hold = outcome.hold
        if hold is not None and outcome.status == "more" and self._is_canary:
            self.watch = max(outcome.left, SAMPLE if hold.kind == "analysis" else 0)
        return outcome, rows

    @property
    def _is_canary(self) -> bool:
        return self.release.spec.strategy.type == "canary"

    def handed(self) -> dict[str, Any]:
        """Return what the load balancers' hosts need to know of this one."""
        release = self.release
        spec = release.spec
        nothing = not release.wanted_replicas
        if nothing:
            # A spec has a replica of each process, and has to be valid where it is read.
            spec = replace(
                spec,
                processes=tuple(replace(item, replicas=1) for item in spec.processes),
                strategy=replace(spec.strategy, max_surge=1),
            )
        return {
            "spec": to_mapping(spec),
            "id": release.id,
            "image_id": release.image_id,
            "nothing": nothing,
            "going_back": release.going_back,
            "took_over": release.took_over,
            "delay": release.delay,
            "passed": sorted(self._choice.at_its_gates(release).passed),
            "watch": self.watch,
            "reach": reach(release.goal(), self.world).value,
            "containers": containers_data(self.site.engine.containers({names.APP: spec.app})),
        }


# A load balancer's host.


def _local(spec: AppSpec, host: str) -> AppSpec:
    """Return what of a spec is about the load balancers on one host."""
    refs = tuple(ref for ref in spec.load_balancers if ref.host == host)
    balanced = {ref.process for ref in refs}
    processes = tuple(process for process in spec.processes if process.name in balanced)
    return replace(spec, load_balancers=refs, processes=processes)


def _connect(spec: AppSpec) -> dict[str, tuple[Balancer, ...]]:
    found = connect_all(spec, SystemClock())
    for balancer in (item for group in found.values() for item in group):
        balancer.driver.probe()
    return found


def _view(
    spec: AppSpec,
    host: str,
    balancers: Mapping[str, tuple[Balancer, ...]],
    epoch: int,
    settled: Sequence[str],
    checked: Sequence[str] = (),
    counted: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what a host's load balancers show, in the order of the spec."""
    left = {process: list(group) for process, group in balancers.items()}
    drivers = [left[ref.process].pop(0).driver for ref in spec.load_balancers]
    return {
        "host": host,
        "epoch": epoch,
        "settled": sorted(settled),
        # What serves needs no check before a switch: there was one, and a run that died behind it.
        "checked": sorted({*checked, *settled}),
        "backends": [balancer_data(driver, host, counted) for driver in drivers],
    }


def _look(params: Mapping[str, Any]) -> dict[str, Any]:
    host = params["part"]["host"]
    spec = _local(parse_spec(params["spec"]), host)
    fence = Fence(params["state_dir"], spec.app, spec.fleet.member, SystemClock())
    return _view(spec, host, _connect(spec), fence.read().epoch, ())


def _balance(params: Mapping[str, Any]) -> dict[str, Any]:
    host, handed = params["part"]["host"], params["part"]["release"]
    turn = front.turn_of(params["turn"])
    release = _release(handed, host)
    spec, clock = release.spec, BoundedClock(SystemClock())
    engine = HandedEngine(handed["containers"])
    site = Site(engine, _connect(spec), params["state_dir"], clock, spec.scope)
    fence = Fence(params["state_dir"], spec.app, spec.fleet.member, SystemClock())
    fence.admit(turn.holder, turn.ttl, turn.epoch)
    journal = Journal(params["state_dir"], spec.app)
    _persist(site, fence, turn)
    run = Run(turn.holder.run, turn.epoch, turn.ttl, journal, fence)
    watch = float(params["part"].get("watch", 0))
    part = Part(Where.LOAD_BALANCER, watches=watch > 0)
    outcome = Executor(release, site, run, clock, turn.resume, part).work(watch or turn.seconds)
    tracks = decide(release.goal(), outcome.world).tracks
    return {
        "changed": bool(outcome.actions),
        "status": "failed" if outcome.error is not None else "more",
        "busy": any(part.of(track, turn.resume.prepared) for track in tracks),
        "actions": list(outcome.actions),
        "progress": list(outcome.progress),
        "journal": [asdict(row) for row in journal.written],
        "resume": front.resume_data(outcome.resume),
        "view": _view(
            spec,
            host,
            site.balancers,
            turn.epoch,
            sorted(outcome.resume.settled),
            sorted(outcome.resume.checked),
            _counted(release, outcome.world),
        ),
        **front.failure_of(outcome),
    }


def _counted(release: LocalRelease, world: World) -> list[str]:
    """Return the targets whose counters the host of the replicas compares."""
    if release.spec.strategy.type != "canary" or release.going_back:
        return []
    return [replica.name for replica in world.replicas if replica.routed]


def _release(handed: Mapping[str, Any], host: str) -> LocalRelease:
    spec = _local(parse_spec(handed["spec"]), host)
    if handed["nothing"]:
        processes = tuple(replace(item, replicas=0, max_surge=1) for item in spec.processes)
        spec = replace(spec, processes=processes)
    elif release_id(parse_spec(handed["spec"]), handed["image_id"]) != handed["id"]:
        raise CutoverError(f"{host}: this host names release {handed['id']} otherwise")
    return LocalRelease(
        spec,
        handed["image_id"],
        passed=frozenset(handed["passed"]),
        going_back=handed["going_back"],
        took_over=handed["took_over"],
        delay=handed["delay"],
        whole=handed["id"],
        reach=Reach(handed["reach"]),
    )


def _persist(site: Site, fence: Fence, turn: Turn) -> None:
    """Bring on disk what a run that died had changed and not yet persisted."""
    with fence.guard(turn.epoch):
        for balancer in (item for group in site.balancers.values() for item in group):
            balancer.driver.persist()
