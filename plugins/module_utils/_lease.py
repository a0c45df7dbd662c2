# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy lease of one app on one host, with a fencing token; private, no stability promised.

Every holder gets an epoch one higher than the one before. A step that changes something runs inside
C(guard): a lock of its own process, in which the epoch is checked. A run that lost its lease is refused
there ("fenced"), however late its step arrives. The lock is shared among the steps of one epoch and
exclusive for changing the epoch, so that nobody takes over in the middle of a step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    Fenced,
    LeaseHeld,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._state import (
    file_lock,
    private_folder,
    read_json,
    write_json,
)


@dataclass(frozen=True)
class Holder:
    """Who deploys: a run, and where a person finds it. C(process) is pid and start time on C(host)."""

    run: str
    user: str = ""
    host: str = ""
    process: str = ""
    job: str = ""

    def __str__(self) -> str:
        parts = [f"run {self.run}"]
        if self.user:
            parts.insert(0, self.user)
        if self.host:
            parts.append(f"host {self.host}")
        if self.job:
            parts.append(f"job {self.job}")
        return ", ".join(parts)


@dataclass(frozen=True)
class LeaseState:
    """What the lease file says. Times are seconds since the epoch, on the host's clock."""

    epoch: int
    holder: Holder | None
    acquired: float
    renewed: float
    ttl: int

    def expired(self, now: float) -> bool:
        """Whether nobody has renewed it for longer than it was granted; a clock set back counts as now."""
        return abs(now - self.renewed) > self.ttl


class Lease:
    """The lease of one app. C(folder) is the app's private folder in the state directory."""

    def __init__(self, state_dir: str, app: str, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._folder = os.path.join(state_dir, "apps", app)
        self._file = os.path.join(self._folder, "lease.json")
        self._lock = os.path.join(self._folder, "lock")

    def read(self) -> LeaseState:
        """Return the lease as it is now."""
        data = read_json(self._file)
        if data is None:
            return LeaseState(0, None, 0.0, 0.0, 0)
        return _from_json(data, self._file)

    def acquire(self, holder: Holder, ttl: int, take_over: int = 0, epoch: int = 0) -> LeaseState:
        """Take the lease, or renew it when this run holds it already.

        C(take_over) names an epoch whose holder the caller knows to be dead; C(epoch) the one this run had
        before, which then must still be current: a run that lost its lease never takes it back.
        Raises LeaseHeld with the holder and the seconds until the lease expires.
        """
        private_folder(self._folder)
        with file_lock(self._lock, shared=False, clock=self._clock):
            state = self.read()
            now = self._clock.now()
            if epoch and state.epoch != epoch:
                raise self._fenced(epoch, state)
            if state.holder is not None and state.holder.run == holder.run:
                return self._write(LeaseState(state.epoch, holder, state.acquired, now, ttl))
            refusal = self.refusal(state, holder, take_over)
            if refusal is not None:
                raise refusal
            return self._write(LeaseState(state.epoch + 1, holder, now, now, ttl))

    def refusal(self, state: LeaseState, holder: Holder, take_over: int = 0) -> LeaseHeld | None:
        """Return why this holder does not get the lease now, or None."""
        now = self._clock.now()
        if state.holder is None or state.holder.run == holder.run:
            return None
        if state.epoch == take_over or state.expired(now):
            return None
        return self._held(state, now)

    def renew(self, run: str, ttl: int, epoch: int) -> None:
        """Keep the lease alive. Shares the lock with the run's own steps, so it never waits for one."""
        with file_lock(self._lock, shared=True, clock=self._clock):
            state = self.read()
            if state.holder is None or state.holder.run != run:
                raise self._fenced(epoch, state)
            self._write(
                LeaseState(state.epoch, state.holder, state.acquired, self._clock.now(), ttl)
            )

    def release(self, run: str) -> bool:
        """Give the lease back; False when this run does not hold it (any more)."""
        if self.read().holder is None:
            return False
        with file_lock(self._lock, shared=False, clock=self._clock):
            state = self.read()
            if state.holder is None or state.holder.run != run:
                return False
            self._write(LeaseState(state.epoch, None, state.acquired, self._clock.now(), 0))
            return True

    @contextlib.contextmanager
    def guard(self, epoch: int) -> Iterator[None]:
        """Let one step act, if the epoch still is this run's."""
        with file_lock(self._lock, shared=True, clock=self._clock):
            current = self.read()
            if current.epoch != epoch or current.holder is None:
                raise self._fenced(epoch, current)
            yield

    @staticmethod
    def _fenced(epoch: int, current: LeaseState) -> Fenced:
        by = f", held by {current.holder}" if current.holder else ", given back since"
        return Fenced(
            f"fenced: run epoch {epoch}, current epoch {current.epoch}{by}; this run changes nothing more",
            epoch=epoch,
            current=current.epoch,
        )

    def _write(self, state: LeaseState) -> LeaseState:
        write_json(self._file, {"app": self._app, **asdict(state)})
        return state

    def _held(self, state: LeaseState, now: float) -> LeaseHeld:
        left = max(0.0, state.ttl - abs(now - state.renewed))
        return LeaseHeld(
            f"{self._app}: lease held by {state.holder}, since {now - state.acquired:.0f} s, "
            f"renewed {now - state.renewed:.0f} s ago, expires in {left:.0f} s",
            epoch=state.epoch,
            holder=asdict(state.holder) if state.holder else None,
            expires_in=left,
        )


def _from_json(data: Mapping[str, object], path: str) -> LeaseState:
    holder, epoch = data.get("holder"), data.get("epoch")
    times = [data.get(key) for key in ("acquired", "renewed", "ttl")]
    if (
        not isinstance(epoch, int)
        or not all(isinstance(value, (int, float)) for value in times)
        or not (holder is None or isinstance(holder, dict))
    ):
        raise StateError(f"{path}: is damaged; nothing was changed")
    acquired, renewed, ttl = (float(value) for value in times if isinstance(value, (int, float)))
    known = (
        {key: str(holder.get(key, "")) for key in Holder.__dataclass_fields__} if holder else None
    )
    return LeaseState(epoch, Holder(**known) if known else None, acquired, renewed, int(ttl))
