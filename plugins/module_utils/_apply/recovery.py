# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a run that died: finish it or undo it; private, no stability promised.

The decision is made on what is seen now. What then happens is an ordinary plan towards the chosen release.
"""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import Release
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    ReleaseRecord,
    Releases,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import replica_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec
from ansible_collections.immutable.cutover.plugins.module_utils._release.strategy import (
    RECREATE,
    ROLLING,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import Phase, World

RECOVER, FINISH, UNDO = "recover", "finish", "undo"
RECOVERS = (RECOVER, FINISH, UNDO)


def resolve(to: str, app: str, releases: Releases, observe: Callable[[], World]) -> str:
    """Return C(finish) or C(undo) for C(recover), and everything else as it is.

    Undone is what was begun, unless all its replicas serve already, or unless some do and there never was another
    release to go back to: what serves is never taken away for nothing that does.
    """
    if to not in RECOVERS:
        return to
    begun = releases.begun()
    if begun is None:
        if not releases.completed():
            _refuse_unknown(app, observe())
        return UNDO  # the last completed release, which is then only put in order
    target = releases.get(begun.release)
    if to == RECOVER and begun.held:
        raise CutoverError(
            f"release {begun.release} of {app} waits at gate {begun.held}: promote or abort it, or say what to do with "
            "recover_to (finish or undo); nothing was changed"
        )
    if to == RECOVER:
        return _choice(app, target, releases, observe())
    if to == FINISH and target is None:
        raise CutoverError(
            f"release {begun.release} of {app} was begun and this host has no record of it: run replace with its spec, "
            "or recover with recover_to undo; nothing was changed"
        )
    return to


def held_beside(release: Release, releases: Releases) -> Begun | None:
    """Return another release that waits at a gate."""
    begun = releases.begun()
    if begun is None or not begun.held or begun.release == release.id:
        return None
    return begun


def refused_beside(app: str, held: Begun) -> CutoverError:
    """Return the refusal of a release that must not overlap with one that is held."""
    return CutoverError(
        f"release {held.release} of {app} is held at gate {held.held}: promote or abort it first, "
        "or set strategy.while_held to abort or wait; nothing was changed",
        held=held.release,
    )


def left_half_way(release: Release, releases: Releases, world: World) -> Begun | None:
    """Return another release that has traffic beside a third one, and no run any more.

    A canary or a switch on top of both would have three serve at once, and compare with a mix of two. Replica by
    replica does not mind. What was to be gone back to is better than what it was to replace.
    """
    begun = releases.begun()
    if begun is None or begun.to or begun.release == release.id:
        return None
    record = releases.get(begun.release)
    types = {release.spec.strategy.type}
    types |= {parse_spec(record.spec).strategy.type} if record else set()
    routed = {item.release for item in world.replicas if item.routed} - {release.id}
    mixed = begun.release in routed and len(routed) > 1
    return begun if mixed and not types <= {ROLLING, RECREATE} else None


def way(to: str, version: str, release: str, begun: Begun | None) -> str:
    """Say where a run goes that goes back or recovers, and what going back does not take back."""
    named = f"{version} ({release})" if version else release
    other = begun.release if begun is not None and begun.release != release else ""
    if to == FINISH:
        return f"finish release {named}, which a run began"
    if to == UNDO:
        return f"undo release {other}: back to {named}" if other else f"put {named} in order"
    return (
        f"back to {named}: its image, environment, secrets and commands. As today: number of replicas, load "
        "balancers, strategy. Not taken back: data, and whatever the newer release did to it"
    )


def finished(releases: Releases) -> ReleaseRecord | None:
    """Return the release that C(finish) goes to."""
    begun = releases.begun()
    return releases.get(begun.release) if begun else None


def _choice(app: str, target: ReleaseRecord | None, releases: Releases, world: World) -> str:
    if target is None:
        return UNDO
    serving = [_serves(world, name) for name in _names(app, target)]
    if all(serving) or (any(serving) and not releases.completed()):
        return FINISH
    return UNDO


def _names(app: str, record: ReleaseRecord) -> list[str]:
    return [
        replica_name(app, process.name, record.id, slot)
        for process in parse_spec(record.spec).processes
        for slot in range(1, process.replicas + 1)
    ]


def _serves(world: World, name: str) -> bool:
    replica = world.find(name)
    return replica is not None and replica.phase is Phase.SERVING


def _refuse_unknown(app: str, world: World) -> None:
    """Refuse to take away what runs only because nothing is known of it."""
    if world.replicas:
        names = ", ".join(sorted(replica.name for replica in world.replicas))
        raise CutoverError(
            f"replicas of {app} run and this host has no record of any release ({names}): run replace with the spec of "
            "what should run; nothing was changed"
        )
