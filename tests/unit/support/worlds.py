# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Worlds in one line: C("a1:serving a2:dead,active b1:started"), and plans as short text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
    Target,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import Analysis
from ansible_collections.immutable.cutover.plugins.module_utils._release.canary import position
from ansible_collections.immutable.cutover.plugins.module_utils._release.canary_spec import (
    CanaryStep,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal, Want
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import replica_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import (
    Plan,
    Step,
    Track,
    Verb,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import (
    Replica,
    World,
)

APP, PROCESS, PORT = "shop", "web", 8080
_HEALTH = {"active": Health.UP, "sick": Health.DOWN, "elsewhere": Health.UP}
_ADMIN = {"sick": Admin.ACTIVE, "elsewhere": Admin.ACTIVE}


def world(text: str, *, settled: bool = False) -> World:
    """Return a world. After the colon: the container, then its target in each load balancer.

    Containers: serving (short for running,active), draining, standby, sick, started, running, dead, missing.
    Targets: active, sick (active and not up), elsewhere (active, another address), standby, draining, maintenance,
    none. C(*9) behind it: all of its targets have weight 9.
    """
    replicas = tuple(_replica(*word.split(":")) for word in text.split())
    names = frozenset(replica.name for replica in replicas)
    return World(replicas, names if settled else frozenset())


def _replica(name: str, text: str) -> Replica:
    text, _star, weight = text.partition("*")
    short = {"started": "running,none", "serving": "running,active"}
    short |= {word: f"running,{word}" for word in ("draining", "standby", "sick", "elsewhere")}
    container, *words = short.get(text, text).split(",")
    release, slot = name[0] * 8, int(name[1:])
    full = replica_name(APP, PROCESS, release, slot)
    address = f"10.0.{ord(name[0])}.{slot}"
    targets = tuple(
        found and replace(found, weight=int(weight or 1))
        for found in (_target(full, address, word) for word in words or ["none"])
    )
    return Replica(
        name=full,
        process=PROCESS,
        release=release,
        slot=slot,
        container_id="" if container == "missing" else f"id-{name}",
        running=container == "running",
        address=address if container == "running" else "",
        port=PORT if container != "missing" else 0,
        targets=targets,
    )


def _target(name: str, address: str, word: str) -> Target | None:
    if word == "none":
        return None
    admin = _ADMIN.get(word) or Admin(word)
    shown = "192.0.2.9" if word == "elsewhere" else address
    return Target(name, shown, PORT, admin, _HEALTH.get(word, Health.UP))


def canary_goal(
    release: str, replicas: int, steps: str, passed: str = "", canary: int = 1, **options: Any
) -> Goal:
    """Return the goal of a canary; steps such as C("10 pause 50 hold analysis"), gates by their numbers."""
    made = tuple(_step(word) for word in steps.split())
    plain = goal(release, replicas, canary=canary, **options)
    whole = replace(plain, strategy="canary", steps=made)
    gates = frozenset[str]()
    while (hold := position(replace(whole, passed=gates)).hold) is not None:
        if hold.gate.partition("-")[0] not in passed.split():
            break
        gates |= {hold.gate}
    return replace(whole, passed=gates)


def _step(word: str) -> CanaryStep:
    if word.isdigit():
        return CanaryStep("weight", weight=int(word))
    if word == "analysis":
        return CanaryStep("analysis", seconds=60, analysis=Analysis())
    return CanaryStep("pause", seconds=60 if word == "pause" else 0)


def goal(release: str, replicas: int, surge: int = 1, unavailable: int = 0, **options: Any) -> Goal:
    """Return the goal to run so many replicas of a release."""
    want = Want(PROCESS, release * 8, replicas, PORT, surge, unavailable, **options)
    return Goal(APP, want.release, (want,))


def blue_green(release: str, replicas: int, **options: Any) -> Goal:
    """Return the goal to switch to so many replicas of a release."""
    return replace(goal(release, replicas, replicas), strategy="blue_green", **options)


def recreate(release: str, replicas: int) -> Goal:
    """Return the goal to have so many replicas of a release after everything else is gone."""
    return replace(goal(release, replicas, replicas, replicas), strategy="recreate")


def short(name: str) -> str:
    """Return C(b1) for C(shop-web-bbbbbbbb-1)."""
    head, slot = name.rsplit("-", 1)
    return head[-1] + slot


def track(item: Track) -> str:
    """Return C("b1 start ready") for a track."""
    if item.steps[0].verb is Verb.WEIGH:
        return "weigh " + " ".join(f"{short(name)}*{w}" for name, w in item.steps[0].weights)
    return " ".join([short(item.replica), *(_verb(step) for step in item.steps)])


def _verb(step: Step) -> str:
    return step.verb.value + "".join(f"*{weight}" for _name, weight in step.weights)


def batches(plan: Plan) -> list[str]:
    """Return a line for each batch of a plan."""
    return [
        " | ".join(track(item) for item in batch.tracks)
        or (f"{batch.hold.gate} {batch.hold.kind} {batch.hold.seconds:g}" if batch.hold else "")
        for batch in plan.batches
    ]
