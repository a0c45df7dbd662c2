# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch a canary beside its stable set, and decide at its analyses; private, no stability promised.

Figures are differences of the load balancers' own counters. Where counters went back (a restart, somebody who
cleared them) the window begins anew: what is not known is never read as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.gates import (
    Answer,
    GateFailed,
    gate_key,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Traffic
from ansible_collections.immutable.cutover.plugins.module_utils._probe.source import JsonSource
from ansible_collections.immutable.cutover.plugins.module_utils._release import (
    analysis,
    canary,
    names,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import (
    Analysis,
    Figures,
    Outcome,
    Verdict,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.goal import Goal
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Hold
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World

LOOK_EVERY = 1.0
WINDOW = 30.0
"""Seconds after which the standing watch begins a new window: what went well long ago must not hide what fails now."""

Tell = Callable[[str, Mapping[str, object]], None]
"""Writes a row of the journal: outcome and detail."""
Counters = Mapping[str, Traffic]


@dataclass
class Window:
    """Counters as they were when it began."""

    since: float
    base: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class _Seen:
    """What was read last of one process: counters by balancer and target, and which targets are canaries."""

    counters: Counters
    canaries: frozenset[str]


@dataclass
class CanaryWatch:
    """One call's watch. C(state) is what the call before has handed on, and is changed in place."""

    release: Release
    site: Site
    timers: Timers
    tell: Tell
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with nothing seen."""
        self._goal = self.release.goal()
        self._seen: dict[str, _Seen] = {}
        self._next = 0.0
        self.note = ""
        """What the last look has found, for a person who waits."""

    def look(self, goal: Goal, world: World) -> None:
        """Read the counters, and raise GateFailed as soon as the canary costs too many requests, or has ended."""
        self._goal = goal
        if goal.strategy != "canary" or goal.going_back or canary.position(goal).hold is None:
            self.note = ""
            return
        self._refuse_ended(goal, world)
        now = self.site.clock.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_EVERY
        self._read(goal, world)
        asked = self.release.spec.strategy.analysis
        for process in self._seen:
            self._watch(process, asked, now)

    def _watch(self, process: str, asked: Analysis, now: float) -> None:
        key = f"watch:{process}"
        sides = self._figures(key, process)
        verdict = analysis.errors(asked, *sides)
        self.note = verdict.reason
        if verdict.outcome is Outcome.FAIL:
            self._fail(verdict, {process: sides})
        if verdict.outcome is Outcome.PASS and now - self._window(key, process).since >= WINDOW:
            del self.state[key]

    def _refuse_ended(self, goal: Goal, world: World) -> None:
        """A canary that served and does not run any more has failed, whatever its figures say."""
        for name in sorted(world.settled):
            replica = world.find(name)
            ended = replica is None or not replica.running
            if ended and names.release_of_name(name)[0] == goal.release:
                self._fail(Verdict(Outcome.FAIL, f"{name} served and has ended"), {})

    def judge(self, hold: Hold) -> Answer:
        """Answer for an analysis."""
        step = canary.step_of(self._goal, hold.gate)
        asked = step.analysis if step and step.analysis else Analysis()
        sides = {name: self._figures(f"{hold.gate}:{name}", name) for name in self._seen}
        gathered = self.timers.left(gate_key(hold), asked.duration) <= 0
        verdict = self._verdict(hold, asked, sides, gathered)
        self.note = verdict.reason
        if verdict.outcome is Outcome.FAIL:
            self._fail(verdict, sides, hold.gate)
        if not gathered:
            return Answer.WAITING
        if verdict.outcome is Outcome.PASS:
            self._told("ok", verdict, sides, hold.gate)
            return Answer.PASSED
        return self._inconclusive(hold, asked, verdict, sides)

    def _inconclusive(
        self, hold: Hold, asked: Analysis, verdict: Verdict, sides: Mapping[str, Any]
    ) -> Answer:
        if self.timers.left(gate_key(hold), asked.timeout) > 0:
            return Answer.WAITING
        if asked.inconclusive == "hold":
            self._told("interrupted", verdict, sides, hold.gate)
            return Answer.HELD
        reason = f"inconclusive after {asked.timeout} s: {verdict.reason}"
        self._fail(Verdict(Outcome.INCONCLUSIVE, reason), sides, hold.gate)
        raise AssertionError("unreachable")

    def _verdict(
        self,
        hold: Hold,
        asked: Analysis,
        sides: Mapping[str, tuple[Figures, Figures]],
        gathered: bool,
    ) -> Verdict:
        found = [analysis.errors(asked, *pair) for pair in sides.values()]
        if gathered:  # an average over a few first requests would say little
            found += [analysis.latency(asked, *pair) for pair in sides.values()]
        if not sides:
            found.append(Verdict(Outcome.INCONCLUSIVE, "no canary serves beside a stable set"))
        if asked.url:
            found.append(self._source(hold, asked))
        return analysis.joined(*found)

    def _source(self, hold: Hold, asked: Analysis) -> Verdict:
        """Ask the source when its interval is over, else repeat what it said."""
        key, now = f"{hold.gate}:source", self.site.clock.monotonic()
        last = self.state.get(key)
        if last is None or not 0 <= now - float(last["since"]) < asked.interval:
            made = JsonSource(asked.url, asked.success_condition, asked.failure_condition)
            answer = made.ask(self.site.clock)
            outcome = Outcome.INCONCLUSIVE
            if answer.passed or answer.failed:
                outcome = Outcome.FAIL if answer.failed else Outcome.PASS
            last = {"since": now, "outcome": outcome.value, "reason": answer.detail}
            self.state[key] = last
        return Verdict(Outcome(last["outcome"]), str(last["reason"]))

    def _read(self, goal: Goal, world: World) -> None:
        self._seen.clear()
        for want in goal.wants:
            stable, new = canary.sides(want, world)
            if not stable or not new:
                continue
            wanted = [replica.name for replica in (*stable, *new)]
            counters = {
                f"{number} {name}": traffic
                for number, driver in enumerate(self.site.drivers(want.process))
                for name, traffic in driver.traffic(wanted).items()
            }
            canaries = frozenset(replica.name for replica in new)
            self._seen[want.process] = _Seen(counters, canaries)

    def _window(self, key: str, process: str) -> Window:
        """Return a window that the counters of now can be compared with."""
        counters = self._seen[process].counters
        known = self.state.get(key)
        base = {name: tuple(pair) for name, pair in known["base"].items()} if known else {}
        back = any(
            name in base and (now.requests < base[name][0] or now.errors < base[name][1])
            for name, now in counters.items()
        )
        since = float(known["since"]) if known and not back else self.site.clock.monotonic()
        if back:
            base = {}
        for name, now in counters.items():
            base.setdefault(name, (now.requests, now.errors))
        self.state[key] = {
            "since": since,
            "base": {name: list(pair) for name, pair in base.items()},
        }
        return Window(since, base)

    def _figures(self, key: str, process: str) -> tuple[Figures, Figures]:
        """Return what canary and stable set have had since the window began."""
        seen, base = self._seen[process], self._window(key, process).base
        sides: tuple[list[tuple[int, int, float | None]], list[tuple[int, int, float | None]]]
        sides = ([], [])
        for name, now in seen.counters.items():
            requests, errors = now.requests - base[name][0], now.errors - base[name][1]
            stable = name.partition(" ")[2] not in seen.canaries
            sides[stable].append((requests, errors, now.response_ms))
        return _sum(sides[0]), _sum(sides[1])

    def _fail(self, verdict: Verdict, sides: Mapping[str, Any], gate: str = "") -> None:
        self._told("failed", verdict, sides, gate)
        raise GateFailed(
            f"canary of {self.release.spec.app}: {verdict.reason}",
            gate=gate,
            verdict=verdict.outcome.value,
            figures=_shown(sides),
        )

    def _told(self, outcome: str, verdict: Verdict, sides: Mapping[str, Any], gate: str) -> None:
        detail = {
            "at": gate,
            "verdict": verdict.outcome.value,
            "reason": verdict.reason,
            "percent": canary.position(self._goal).percent,
            "figures": _shown(sides),
        }
        self.tell(outcome, detail)


def _sum(parts: list[tuple[int, int, float | None]]) -> Figures:
    """Add up targets; the response time is their average, by requests."""
    requests = sum(part[0] for part in parts)
    timed = [(part[0], part[2]) for part in parts if part[2] is not None and part[0]]
    weight = sum(count for count, _ms in timed)
    average = sum(count * ms for count, ms in timed) / weight if weight else None
    return Figures(requests, sum(part[1] for part in parts), average)


def _shown(sides: Mapping[str, tuple[Figures, Figures]]) -> dict[str, object]:
    return {
        process: {
            who: {
                "requests": figures.requests,
                "errors": figures.errors,
                "response_ms": round(figures.response_ms, 1)
                if figures.response_ms is not None
                else None,
            }
            for who, figures in (("canary", pair[0]), ("stable", pair[1]))
        }
        for process, pair in sides.items()
    }
