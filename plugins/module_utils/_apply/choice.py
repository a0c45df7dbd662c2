# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release a run goes to: the one the spec describes, or a kept one; private, no stability promised."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.image_facts import (
    check_environment,
    check_image,
    commands_of,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.recovery import (
    FINISH,
    UNDO,
    finished,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    ReleaseRecord,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.retention import restored
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import resolve_image
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import verify_image
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import AppSpec

PREVIOUS = "previous"
ABORT = "abort"
PROMOTE = "promote"
GIVE_UP = (UNDO, ABORT)
GOES_ON = (PROMOTE, FINISH)


def refuse_other(app: str, approved: str, found: ReleaseRecord | None) -> None:
    """Refuse to promote another release than the one that somebody has approved."""
    if not approved or (found is not None and found.is_called(approved)):
        return
    instead = f"release {found.version} ({found.id}) is there instead" if found else "none is there"
    raise CutoverError(
        f"release {approved} of {app}, which was approved, does not wait at a gate: {instead}; nothing was changed"
    )


def other_than(approved: str, releases: Releases) -> str:
    """Return how another release than the one that is to be given up is called, where that is what is under way."""
    begun = releases.begun()
    if not approved or begun is None:
        return ""
    record = releases.get(begun.release)
    if approved == begun.release or (record is not None and record.is_called(approved)):
        return ""
    return f"{record.version} ({record.id})" if record is not None else begun.release


@dataclass(frozen=True)
class Choice:
    """What was asked for, and what this host knows of. C(to) is resolved: never C(recover)."""

    wanted: AppSpec
    to: str
    releases: Releases
    state_dir: str
    clock: Clock
    approved: str = ""
    """What C(promote) is to let through and C(abort) to give up; empty: whatever waits, or is under way."""
    retires: str = ""
    """The release that this run has completed, whatever it was told: only what it replaced is left to be taken away."""

    def release(self, engine: Engine) -> Release:
        """Return the release to go to, at the gates that it has passed."""
        return self.at_its_gates(self._choose(engine))

    def _choose(self, engine: Engine) -> Release:
        wanted, to = self.wanted, self.to
        if self.retires and (completed := self.releases.get(self.retires)):
            spec = restored(completed, wanted, keep_scale=False)
            return self._release(spec, completed.image_id, engine)
        if not to:
            image_id = resolve_image(
                wanted.image, self.state_dir, lambda ref: engine.image(ref) is not None
            )
            return self._release(wanted, image_id, engine)
        record = self._record(to, wanted)
        if record is None:
            return self._nothing(wanted)
        spec = restored(record, wanted, keep_scale=to not in (*GIVE_UP, FINISH))
        return self._release(spec, record.image_id, engine)

    def _record(self, to: str, wanted: AppSpec) -> ReleaseRecord | None:
        if to == PROMOTE:
            begun = self.releases.begun()
            record = self.releases.get(begun.release) if begun else None
            if record is None:
                raise CutoverError(
                    f"no release of {wanted.app} waits at a gate; nothing was changed"
                )
            refuse_other(wanted.app, self.approved, record)
            return record
        if to == ABORT and (other := other_than(self.approved, self.releases)):
            # Asked before already: in between another run has begun it.
            raise CutoverError(
                f"release {self.approved} of {wanted.app}, which was to be aborted, is not under way any more: release"
                f" {other} is there instead; nothing was changed"
            )
        if to in GIVE_UP:
            return self._last()
        if to == FINISH:
            # Where nothing is begun any more, a run that lives has finished it since.
            return finished(self.releases) or self._last()
        if to == PREVIOUS:
            return self.releases.previous()
        return self.releases.named(to)

    def _last(self) -> ReleaseRecord | None:
        """Return the last completed release; none where there never was one."""
        completed = self.releases.completed()
        if not completed:
            return None
        record = self.releases.get(completed[-1])
        if record is None:  # without one nothing would be wanted, and all that serves would go
            raise CutoverError(
                f"the record of release {completed[-1]} of {self.wanted.app}, which completed last, is gone; nothing"
                " was changed. Run replace with the spec of what should run"
            )
        return record

    def at_its_gates(self, release: Release) -> Release:
        """Say which gates it has passed, and how long what it replaces is kept."""
        begun = self.releases.begun()
        mine = begun if begun is not None and begun.release == release.id else None
        back = self.to not in ("", *GOES_ON) or (self.to in GOES_ON and bool(mine and mine.to))
        delay: float = 0 if back else release.spec.strategy.scale_down_delay
        since = self.releases.kept_since(release.id)
        if delay and since:
            # A clock that was set back must not keep them for longer.
            delay = max(0.0, delay - abs(self.clock.now() - since))
        passed = frozenset(mine.passed if mine else ())
        return replace(release, passed=passed, going_back=back, delay=delay, took_over=bool(since))

    def _nothing(self, wanted: AppSpec) -> Release:
        """Return the release to go back to when there never was one: no replica at all."""
        processes = tuple(replace(process, replicas=0, max_surge=1) for process in wanted.processes)
        return Release(replace(wanted, processes=processes), "")

    def _release(self, spec: AppSpec, image_id: str, engine: Engine) -> Release:
        image = engine.image(image_id)
        if image is None:
            raise CutoverError(
                f"image {image_id} of {spec.image} is not on this host; nothing was changed. Bake, pull or load it "
                "again, or name another kept release (the playbook status lists them)"
            )
        if spec.verify == "required":
            # In every call, before it changes anything; what is verified here is the ID that containers are made of.
            verify_image(spec.image, image.id, spec.verify_keys, self.state_dir)
        check_image(image)
        if not self.to:  # what ran once may come back as it was
            check_environment(image, spec)
        commands = commands_of(image)
        for process in spec.processes:
            named = process.name in commands or process.command or not process.replicas
            if commands and not named:
                raise InvalidInput(
                    f"processes.{process.name}.command",
                    None,
                    f"is required: the image names commands only for {', '.join(sorted(commands))}",
                )
        return Release(spec, image_id, commands)
