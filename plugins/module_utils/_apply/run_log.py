# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two rows about a whole run: that it began and how it ended; private, no stability promised.

A run that was killed leaves the first one only. Whoever has the lease next writes that it was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Outcome
from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import ReleaseRecord
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    Fenced,
    Repeated,
)
from ansible_collections.immutable.cutover.plugins.module_utils._journal import (
    ENDS,
    RUN,
    Journal,
    Row,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder


class RunLog:
    """What the journal says of one run as a whole."""

    def __init__(self, journal: Journal, run: str, release: Release, clock: Clock) -> None:
        self._journal = journal
        self._run = run
        self._release = release
        self._clock = clock
        self.epoch = 0
        """The run's epoch of the lease, as soon as it has one."""

    def begin(self, holder: Holder, to: str, last: Sequence[ReleaseRecord]) -> None:
        """Write that it began, and that every run before it that has not said so has ended."""
        for row in _open(self._journal.runs(), self._run):
            detail = {"message": f"ended without a word; run {self._run} found it so"}
            self._append("interrupted", detail, row)
        before = {"release": last[-1].id, "version": last[-1].version} if last else {}
        self._append(
            "begin",
            {
                "to": to,
                "from": before,
                "image": self._release.spec.image,
                "image_id": self._release.image_id,
                "holder": asdict(holder),
            },
        )

    def end(self, outcome: Outcome, undoes: str) -> None:
        """Write how it ended, and what a person has to know of it; one that was rolled back has failed."""
        step, error = outcome.failed_step, outcome.error
        if self._late(error):
            return
        detail: dict[str, object] = {}
        if error is not None:
            said = f"{step.verb.value} failed: {error.message}" if step else error.message
            detail["message"] = said
        if outcome.hold is not None and error is None:
            detail["gate"] = outcome.hold.gate
        if undoes:
            then = f"; going back failed too: {detail['message']}" if error else ""
            detail = {"message": f"{undoes}{then}", "rolled_back": error is None}
        failed = "fenced" if isinstance(error, Fenced) else "failed"
        self._append(failed if error is not None or undoes else outcome.status, detail)

    def fail(self, error: CutoverError, epoch: int) -> None:
        """Write that it ended outside of any step, if it has, or had with C(epoch), the lease."""
        self.epoch = self.epoch or epoch
        if self.epoch and not self._late(error):
            outcome = "fenced" if isinstance(error, Fenced) else "failed"
            self._append(outcome, {"message": error.message})

    def _late(self, error: CutoverError | None) -> bool:
        """Whether a later call of the same run has, or will have, the last word."""
        if not isinstance(error, Fenced):
            return False
        words = [row for row in self._journal.runs() if row.get("run") == self._run]
        last = words[-1].get("outcome") if words else "begin"
        # That it was interrupted is what others took it for.
        return isinstance(error, Repeated) or last not in ("begin", "interrupted")

    def _append(
        self, outcome: str, detail: Mapping[str, object], of: Mapping[str, object] | None = None
    ) -> None:
        now, about = self._clock.now(), of or {}
        epoch = about.get("epoch", self.epoch)
        self._journal.append(
            Row(
                time=now,
                run=str(about.get("run", self._run)),
                epoch=epoch if isinstance(epoch, int) else 0,
                app=self._release.spec.app,
                step=RUN,
                outcome=outcome,
                release=str(about.get("release", self._release.id)),
                version=str(about.get("version", self._release.spec.version)),
                seconds=round(now - self._began(outcome, now), 3) if of is None else 0.0,
                detail=detail,
            )
        )

    def _began(self, outcome: str, now: float) -> float:
        if outcome == "begin":
            return now
        times = [row.get("time") for row in self._journal.runs() if row.get("run") == self._run]
        return next((time for time in times if isinstance(time, float)), now)


def _open(rows: list[dict[str, object]], run: str) -> list[dict[str, object]]:
    """Return the beginnings of other runs that have no end."""
    last: dict[object, dict[str, object]] = {}
    for row in rows:
        last[row.get("run")] = row
    return [row for key, row in last.items() if row.get("outcome") not in ENDS and key != run]
