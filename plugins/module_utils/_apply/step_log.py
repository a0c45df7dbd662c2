# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journal says of a call's steps and gates: each begins once, however many calls it takes; private.

Whatever is written passes the scrubber first where it may repeat what the app or a source has answered.
"""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Run
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.gates import gate_key
from ansible_collections.immutable.cutover.plugins.module_utils._apply.scrub import Scrubber
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError, Fenced
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Row
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Hold, Step
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World


class StepLog:
    """Rows about steps and gates. C(pending) is what has begun and not ended, with the wall time of its beginning."""

    def __init__(
        self, release: Release, run: Run, clock: Clock, pending: Mapping[str, float]
    ) -> None:
        self._release = release
        self._run = run
        self._clock = clock
        self._scrubber = Scrubber(release.secret_values)
        self._versions = {release.id: release.spec.version}
        self.pending = dict(pending)

    def look(self, world: World) -> None:
        """Learn the versions of the releases that are there."""
        self._versions.update(
            {item.release: item.version for item in world.replicas if item.version}
        )

    def scrub(self, error: CutoverError) -> None:
        """Hide secrets in an error: it may repeat what the app logged or answered."""
        self._scrubber.error(error)

    def since(self, key: str) -> float:
        """Return for how many seconds a step or a gate has been under way."""
        return self._clock.now() - self.pending.get(key, self._clock.now())

    def begin(self, step: Step) -> None:
        """Write that a step has begun, once."""
        if step_key(step) not in self.pending:
            self.pending[step_key(step)] = self._clock.now()
            self._step(step, "begin", {})

    def end(self, step: Step, detail: Mapping[str, object]) -> None:
        """Write that a step is done."""
        self._step(step, "ok", detail)

    def fail(self, step: Step, error: CutoverError) -> None:
        """Write that a step failed, or was refused."""
        self.scrub(error)
        outcome = "fenced" if isinstance(error, Fenced) else "failed"
        self._step(step, outcome, {"message": error.message})

    def gate(self, hold: Hold, outcome: str) -> None:
        """Write what happened at a gate; that it was come to, once."""
        key, now = gate_key(hold), self._clock.now()
        if outcome == "begin":
            if key in self.pending:
                return
            self.pending[key] = now
        began = self.pending.get(key, now)
        if outcome != "begin":
            self.pending.pop(key, None)
        self._append("gate", outcome, began, {"gate": hold.gate, "kind": hold.kind})

    def analysis(self, outcome: str, detail: Mapping[str, object]) -> None:
        """Write what figures said."""
        reason = self._scrubber.text(str(detail["reason"]))
        self._append("analysis", outcome, self._clock.now(), {**detail, "reason": reason})

    def _step(self, step: Step, outcome: str, detail: Mapping[str, object]) -> None:
        began = self.pending.get(step_key(step), self._clock.now())
        if outcome != "begin":
            self.pending.pop(step_key(step), None)
        self._append(step.verb.value, outcome, began, detail, step)

    def _append(
        self,
        verb: str,
        outcome: str,
        began: float,
        detail: Mapping[str, object],
        step: Step | None = None,
    ) -> None:
        now = self._clock.now()
        release = step.release if step else self._release.id
        self._run.journal.append(
            Row(
                time=now,
                run=self._run.id,
                epoch=self._run.epoch,
                app=self._release.spec.app,
                process=step.process if step else "",
                replica=step.replica if step and step.replica != step.process else "",
                release=release,
                version=self._versions.get(release, ""),
                step=verb,
                outcome=outcome,
                seconds=round(now - began, 3),
                detail=dict(detail),
            )
        )


def step_key(step: Step) -> str:
    """Name a step among those of a run."""
    return f"{step.verb.value}:{step.replica}"
