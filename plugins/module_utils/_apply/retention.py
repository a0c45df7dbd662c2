# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of releases that ran before, and what of it comes back; private, no stability promised."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    ReleaseRecord,
    Releases,
    images_in_use,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    parse_spec,
    to_mapping,
)


def restored(record: ReleaseRecord, wanted: AppSpec, *, keep_scale: bool) -> AppSpec:
    """Return a kept release under today's load balancers and strategy; C(keep_scale): and today's replicas.

    A rollback that a person asks for is held to today's keys. What undoes a failed run restores what ran before it, and
    is held to the keys of its own time: else the first run that must verify could not be undone.
    """
    then, today = parse_spec(record.spec), to_mapping(wanted)
    flow = {key: today[key] for key in ("strategy", "retain", "fleet")}
    flow["load_balancers"] = _balancers_of(then, wanted)
    if not keep_scale:
        return _with_leaving(parse_spec({**to_mapping(then), **flow}), wanted)
    flow |= {key: today[key] for key in ("verify", "verify_keys")}
    scaled = tuple(
        replace(process, replicas=wanted_process.replicas if wanted_process else process.replicas)
        for process in then.processes
        for wanted_process in [wanted.process(process.name)]
    )
    return _with_leaving(
        parse_spec({**to_mapping(replace(then, processes=scaled)), **flow}), wanted
    )


def _balancers_of(then: AppSpec, wanted: AppSpec) -> list[dict[str, object]]:
    """Return today's load balancers of the processes of then; a process that today has none keeps its own."""
    today = {ref.process for ref in wanted.load_balancers}
    refs = [ref for ref in wanted.load_balancers if then.process(ref.process)]
    refs += [ref for ref in then.load_balancers if ref.process not in today]
    return [{"process": ref.process, "host": ref.host or None, **dict(ref.options)} for ref in refs]


def _with_leaving(spec: AppSpec, wanted: AppSpec) -> AppSpec:
    """Want no replica of the process types that there were not yet, so that what runs of them is taken away."""
    leaving = [process for process in wanted.processes if spec.process(process.name) is None]
    names = {process.name for process in leaving}
    refs = tuple(ref for ref in wanted.load_balancers if ref.process in names)
    none = tuple(replace(process, replicas=0, max_surge=1) for process in leaving)
    return replace(spec, processes=spec.processes + none, load_balancers=spec.load_balancers + refs)


def prune(releases: Releases, engine: Engine, state_dir: str, spec: AppSpec) -> list[str]:
    """Forget releases beyond C(retain): their records, secrets and images, unless something still uses them."""
    dropped = releases.forget(spec.retain)
    if not dropped:
        return []
    kept = releases.all()
    used_images = images_in_use(state_dir)
    used_secrets = {source for record in kept for source in _secret_sources(record.spec)}
    for record in dropped:
        for source in _secret_sources(record.spec):
            if source not in used_secrets and source.startswith(os.path.join(state_dir, "")):
                _unlink(source)
        if record.image_id not in used_images:
            _remove_image(engine, record.image_id)
    return [record.id for record in dropped]


def _remove_image(engine: Engine, image_id: str) -> None:
    if not any(item.image_id == image_id for item in engine.containers({})):
        engine.remove_image(image_id)


def _unlink(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


def _secret_sources(spec: Mapping[str, object]) -> Sequence[str]:
    return [secret.source for secret in parse_spec(spec).secrets]
