# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates: where a run stands still until something lets it through; private, no stability promised.

What was let through is noted on the host, beside the release that was begun, so that a run after a crash goes on
behind it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from ansible_collections.immutable.cutover.plugins.module_utils._apply.timers import Timers
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Hold


class Answer(str, enum.Enum):
    """What a gate says when a run stands before it."""

    PASSED = "passed"
    """Go on."""
    WAITING = "waiting"
    """Look again soon; the run stays, over as many calls as it takes."""
    HELD = "held"
    """The run ends here and ends well; somebody promotes or aborts."""
    DELAYED = "delayed"
    """The release is complete; what it replaced goes later."""


class GateFailed(CutoverError):
    """What was measured at a gate speaks against the release: it is taken back."""


class HealthySide(GateFailed):
    """What replaces it serves no more: what is drained is not taken away, and goes back into rotation."""


Keeper = Callable[[Hold], Answer]
"""Answers for one kind of gate; raises GateFailed to have the release taken back."""


class Gates:
    """Ask the keeper of each kind of gate, and note on the host what was passed."""

    def __init__(
        self,
        timers: Timers,
        passed: Callable[[str], None],
        more: Mapping[str, Keeper] | None = None,
        tell: Callable[[Hold, str], None] = lambda _hold, _outcome: None,
    ) -> None:
        self._timers = timers
        self._passed = passed
        self._tell = tell
        self._keepers: Mapping[str, Keeper] = {
            "approval": lambda _hold: Answer.HELD,
            "delay": lambda _hold: Answer.DELAYED,
            "pause": self._pause,
            **(more or {}),
        }

    def ask(self, hold: Hold) -> Answer:
        """Return the answer of a gate; one that was passed is noted before anything behind it begins."""
        self._tell(hold, "begin")
        answer = self._keepers[hold.kind](hold)
        if answer is Answer.PASSED:
            self._timers.began.pop(gate_key(hold), None)
            self._passed(hold.gate)
            self._tell(hold, "ok")
        elif answer is not Answer.WAITING:
            self._tell(hold, answer.value)
        return answer

    def left(self, hold: Hold) -> float:
        """Return the seconds that are left of a pause."""
        return self._timers.left(gate_key(hold), hold.seconds)

    def _pause(self, hold: Hold) -> Answer:
        return Answer.WAITING if self.left(hold) > 0 else Answer.PASSED


def gate_key(hold: Hold) -> str:
    """Name a gate among the steps of a run."""
    return f"gate:{hold.gate}"
