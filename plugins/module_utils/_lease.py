# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy lease of one app on one host, with a fencing token; private, no stability promised.

Every holder gets an epoch one higher than the one before. A step that changes something runs inside
C(guard): a lock of its own process, in which the epoch is checked. A run that lost its lease is refused
there ("fenced"), however late its step arrives. The lock is shared among the steps of one epoch and
exclusive for changing the epoch, so that nobody takes over in the middle of a step.

The same holds among the calls of one run. Ansible may make a call twice, when the connection was lost and it is told to
try again, while the first one still works: the last one that took or renewed the lease is the one that may act.

Who waits for the lease stands in line: first come, first served. A place that nobody has asked for in a while, whose
time is over, or whose run is known to be dead, is given up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    Fenced,
    LeaseHeld,
    Overtaken,
    Repeated,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._shown import span, who
from ansible_collections.immutable.cutover.plugins.module_utils._state import (
    file_lock,
    private_folder,
    read_json,
    write_json,
)


@dataclass(frozen=True)
class Holder:
    """Who deploys: a run, and where a person finds it. C(process): _process.py."""

    run: str
    user: str = ""
    host: str = ""
    process: str = ""
    job: str = ""
    url: str = ""
    """Where the job is shown."""

    def __str__(self) -> str:
        return who(asdict(self))


@dataclass(frozen=True)
class Place:
    """One run's place in the line. Times are seconds since the epoch, on the host's clock."""

    holder: Holder
    since: float
    seen: float
    until: float


FORGOTTEN = 20.0
"""Seconds after which a place is given up whose run has not asked again; it asks every few seconds."""


@dataclass(frozen=True)
class LeaseState:
    """What the lease file says. Times are seconds since the epoch, on the host's clock."""

    epoch: int
    holder: Holder | None
    acquired: float
    renewed: float
    ttl: int
    call: str = ""
    """Which of the run's calls came last."""

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
        self._line_file = os.path.join(self._folder, "line.json")
        self._call = ""
        """What names this call, as soon as it has the lease."""

    def read(self) -> LeaseState:
        """Return the lease as it is now."""
        data = read_json(self._file)
        if data is None:
            return LeaseState(0, None, 0.0, 0.0, 0)
        return _from_json(data, self._file)

    def acquire(
        self,
        holder: Holder,
        ttl: int,
        take_over: int = 0,
        epoch: int = 0,
        waits: float = 0.0,
        gone: Collection[str] = (),
        still: Callable[[], bool] = lambda: True,
    ) -> LeaseState:
        """Take the lease, or renew it when this run holds it already.

        C(take_over) names an epoch whose holder the caller knows to be dead, C(gone) the runs in line that are;
        C(epoch) the one this run had before, which then must still be current: a run that lost its lease never takes
        it back. C(waits): seconds that it will go on asking, for which it gets a place in line. C(still) says whether
        what it has decided on is so yet: asked when no other run can change it any more.
        Raises Overtaken where it is not, and leaves the run its place; raises LeaseHeld with the holder, who is before
        it in line, and the seconds until the lease expires.
        """
        private_folder(self._folder)
        with file_lock(self._lock, shared=False, clock=self._clock):
            state = self.read()
            now = self._clock.now()
            if epoch and state.epoch != epoch:
                raise self._fenced(epoch, state)
            if state.holder is not None and state.holder.run == holder.run:
                return self._take(LeaseState(state.epoch, holder, state.acquired, now, ttl))
            line = self._line(now, gone)
            refusal = self.refusal(state, holder, take_over, line)
            if refusal is not None:
                self._stand(line, holder, now, waits)
                raise refusal
            if not still():
                self._stand(line, holder, now, waits)
                raise Overtaken(f"another run of {self._app} came in between: looking again")
            self._stand(line, holder, now, 0.0)
            return self._take(LeaseState(state.epoch + 1, holder, now, now, ttl))

    def refusal(
        self,
        state: LeaseState,
        holder: Holder,
        take_over: int = 0,
        line: tuple[Place, ...] | None = None,
    ) -> LeaseHeld | None:
        """Return why this holder does not get the lease now, or None."""
        now = self._clock.now()
        if state.holder is not None and state.holder.run == holder.run:
            return None
        places = self.line() if line is None else line
        ahead = _ahead(places, holder.run)
        held = state.holder is not None and state.epoch != take_over and not state.expired(now)
        return self._held(state, now, held, ahead) if held or ahead else None

    def line(self) -> tuple[Place, ...]:
        """Return who waits, the first in line first."""
        return self._line(self._clock.now(), ())

    def leave(self, run: str) -> None:
        """Give up a run's place in line: what it waited for has been done by somebody else."""
        if not os.path.exists(self._line_file):
            return
        with file_lock(self._lock, shared=False, clock=self._clock):
            self._stand(self.line(), Holder(run), self._clock.now(), 0.0)

    def raise_to(self, epoch: int) -> None:
        """Go on from an epoch that others have seen of this host, whose state folder was lost since."""
        private_folder(self._folder)
        with file_lock(self._lock, shared=False, clock=self._clock):
            state = self.read()
            if state.epoch < epoch:
                self._write(replace(state, epoch=epoch))

    def renew(self, run: str, ttl: int, epoch: int) -> None:
        """Keep the lease alive. Shares the lock with the run's own steps, so it never waits for one."""
        with file_lock(self._lock, shared=True, clock=self._clock):
            state = self.read()
            if state.holder is None or state.holder.run != run:
                raise self._fenced(epoch, state)
            self._check_call(state)
            self._write(replace(state, renewed=self._clock.now(), ttl=ttl))

    def release(self, run: str) -> bool:
        """Give the lease back; False when this run does not hold it (any more), or is in a later call already."""
        held = self.read().holder
        if held is None or held.run != run:  # nobody but this run makes itself the holder
            return False
        with file_lock(self._lock, shared=False, clock=self._clock):
            state = self.read()
            if state.holder is None or state.holder.run != run or self._late(state):
                return False
            self._write(replace(state, holder=None, renewed=self._clock.now(), ttl=0))
            return True

    @contextlib.contextmanager
    def guard(self, epoch: int) -> Iterator[None]:
        """Let one step act, if the epoch still is this run's."""
        with file_lock(self._lock, shared=True, clock=self._clock):
            current = self.read()
            if current.epoch == epoch:
                self._check_call(current)
            if current.epoch != epoch or current.holder is None:
                raise self._fenced(epoch, current)
            yield

    def _take(self, state: LeaseState) -> LeaseState:
        """Write it down for this call: from now on no step of an earlier call of the same run gets in."""
        self._call = os.urandom(6).hex()
        return self._write(replace(state, call=self._call))

    def _late(self, state: LeaseState) -> bool:
        return bool(self._call) and state.call != self._call

    def _check_call(self, state: LeaseState) -> None:
        if self._late(state):
            raise Repeated(
                f"fenced: epoch {state.epoch}, a later call of the same run works now; this one changes nothing more",
                epoch=state.epoch,
                current=state.epoch,
            )

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

    def _held(
        self, state: LeaseState, now: float, held: bool, ahead: tuple[Place, ...]
    ) -> LeaseHeld:
        left = max(0.0, state.ttl - abs(now - state.renewed)) if held else 0.0
        text = (
            f"lease held by {state.holder}, for {span(now - state.acquired)}, "
            f"renewed {span(now - state.renewed)} ago, expires in {span(left)}"
            if held
            else "lease free"
        )
        if ahead:
            text += f"; in line before this run: {'; '.join(str(place.holder) for place in ahead)}"
        return LeaseHeld(
            f"{self._app}: {text}",
            epoch=state.epoch,
            holder=asdict(state.holder) if held and state.holder else None,
            ahead=[asdict(place.holder) for place in ahead],
            expires_in=left,
        )

    def _line(self, now: float, gone: Collection[str]) -> tuple[Place, ...]:
        """Return the places that somebody still asks for; a clock that was set back gives up all."""
        data = read_json(self._line_file) or {}
        places = data.get("places", [])
        found = [_place(item) for item in places] if isinstance(places, list) else []
        return tuple(
            place
            for place in found
            if place is not None
            and abs(now - place.seen) <= FORGOTTEN
            and now <= place.until
            and place.holder.run not in gone
        )

    def _stand(self, line: tuple[Place, ...], holder: Holder, now: float, waits: float) -> None:
        """Give this run its place, or with C(waits) 0 take it away; the file goes with the last one."""
        mine = next((place for place in line if place.holder.run == holder.run), None)
        new = Place(holder, mine.since if mine else now, now, now + waits) if waits > 0 else None
        others = [place for place in line if place.holder.run != holder.run]
        places = [*others, new] if new else others
        places.sort(key=lambda place: place.since)
        if places:
            write_json(self._line_file, {"places": [asdict(place) for place in places]})
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._line_file)


def _ahead(line: tuple[Place, ...], run: str) -> tuple[Place, ...]:
    runs = [place.holder.run for place in line]
    return line[: runs.index(run)] if run in runs else line


def _place(item: object) -> Place | None:
    if not isinstance(item, dict) or not isinstance(item.get("holder"), dict):
        return None
    times = [item.get(key) for key in ("since", "seen", "until")]
    since, seen, until = (float(time) if isinstance(time, (int, float)) else 0.0 for time in times)
    return Place(_holder(item["holder"]), since, seen, until)


def _holder(data: Mapping[str, object]) -> Holder:
    return Holder(**{key: str(data.get(key) or "") for key in Holder.__dataclass_fields__})


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
    who_has_it = _holder(holder) if holder else None
    call = str(data.get("call") or "")
    return LeaseState(epoch, who_has_it, acquired, renewed, int(ttl), call)
