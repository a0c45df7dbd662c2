# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The push phase as a module sees it: options in, plain results out; private, no stability promised."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import (
    BakeInputs,
    read_inputs,
    refuse_duplicates,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.front import (
    Params,
    _recipes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.inputs_artifact import (
    InputsPush,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import (
    attempt_each,
    for_each,
    joined,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import (
    DEFAULT_OUTPUT,
    Output,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.push import (
    Push,
    PushOptions,
    PushResult,
    repository_of,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    has_host,
    is_repository,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import attachments
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    REGISTRY_SPEC,
    registry_options,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import (
    DEFAULT_STORE,
    Store,
    require_fetched,
)

PLACE_SPEC: dict[str, t.Any] = {
    "registry": {"type": "dict", "options": REGISTRY_SPEC, "required": True},
    "repository_prefix": {"type": "str", "default": ""},
    "concurrency": {"type": "int", "default": 2},
}
PUSH_SPEC: dict[str, t.Any] = {
    **PLACE_SPEC,
    "recipes": {"type": "list", "elements": "path", "required": True},
    "output": {"type": "path", "default": DEFAULT_OUTPUT},
    "tags": {"type": "bool", "default": True},
    "compression": {"type": "str", "choices": ["none", "gzip"], "default": "none"},
    "inputs": {"type": "bool", "default": False},
    "store": {"type": "path", "default": DEFAULT_STORE},
}


def push_images(params: Params, check: bool) -> dict[str, t.Any]:
    """Push the image of every recipe; bases first, so that their layers can be mounted."""
    place = registry_options(params["registry"])
    options = PushOptions(
        prefix=repository_prefix(params["repository_prefix"]),
        tags=params["tags"],
        gzip=params["compression"] == "gzip",
        check=check,
    )
    workers = params["concurrency"]
    inputs = for_each(_recipes(params), read_inputs, workers)
    refuse_duplicates(inputs)
    output = Output(params["output"])
    records = for_each(inputs, lambda item: _record(item, output, check), workers)
    registry = Registry(place)
    kept = _kept_inputs(params, inputs)

    def push(record: BakeRecord) -> PushResult:
        known = attachments(output, record)
        result = Push(record, output, registry, options, known).ensure()
        return _push_inputs(result, kept, output, registry, check)

    baked = [record for record in records if record is not None]
    results: dict[str, PushResult] = {}
    errors: list[CutoverError] = []
    for kind in ("base", "app"):
        # An app whose base is not there would be sent whole.
        group = [record for record in baked if record.kind == kind and not errors]
        done, errors = attempt_each(group, push, workers) if group else ([], errors)
        results.update({result.record.tag: result for result in done})
        if not check:
            for result in done:
                _note_compressed(output, result)
    if errors:
        pushed = [item for item in inputs if item.recipe.tag in results]
        raise joined(errors, _report(pushed, results, options, place.host))
    return _report(inputs, results, options, place.host)


def _report(
    inputs: t.Sequence[BakeInputs],
    results: t.Mapping[str, PushResult],
    options: PushOptions,
    host: str,
) -> dict[str, t.Any]:
    images = [_image(item, results.get(item.recipe.tag), host) for item in inputs]
    before = {item.recipe.tag: _before(item, results, options) for item in inputs}
    after = {item.recipe.tag: _after(item, results, options) for item in inputs}
    return {
        "changed": any(image["changed"] for image in images),
        "images": images,
        "before": before,
        "after": after,
        "actions": [action for item in inputs for action in _actions(item, results, host)],
        "diff": {"before": before, "after": after},
    }


def repository_prefix(value: str) -> str:
    """Validate the option C(repository_prefix)."""
    prefix = value.strip("/")
    if prefix and (not is_repository(prefix) or has_host(prefix + "/x")):
        raise InvalidInput(
            "repository_prefix",
            value,
            "must be lower-case words joined by . _ - and /, without a host",
        )
    return prefix


def _kept_inputs(params: Params, inputs: t.Sequence[BakeInputs]) -> dict[str, tuple[Lock, Store]]:
    """Return what is to be kept in the registry too, by tag; it must be in the store, before anything is pushed."""
    if not params.get("inputs"):
        return {}
    store = Store(params["store"])
    for item in inputs:
        require_fetched(item.recipe, item.lock, store)
    return {item.recipe.tag: (item.lock, store) for item in inputs}


def _push_inputs(
    result: PushResult,
    kept: t.Mapping[str, tuple[Lock, Store]],
    output: Output,
    registry: Registry,
    check: bool,
) -> PushResult:
    record = result.record
    if record.tag not in kept:
        return result
    lock, store = kept[record.tag]
    push = InputsPush(record, lock, store, output.layout, registry)
    actions = push.ensure(result.repository, check)
    return replace(
        result,
        actions=(*result.actions, *actions),
        before={**result.before, "inputs": 0 if actions else len(push.inputs)},
        after={**result.after, "inputs": len(push.inputs)},
    )


def _record(item: BakeInputs, output: Output, check: bool) -> BakeRecord | None:
    """Return what was baked of exactly these inputs; None only in check mode."""
    recipe = item.recipe
    record = output.find(recipe.name, recipe.version)
    if record is not None and record.recipe_hash != item.hash:
        raise CutoverError(
            f"{recipe.tag} in {output.root} was baked from other content than {recipe.path}: "
            "bump the version and bake it",
            found_hash=record.recipe_hash,
            recipe_hash=item.hash,
        )
    if record is not None and output.layout.complete(record):
        return record
    if check:
        return None
    raise CutoverError(f"{recipe.tag} is not in {output.root}: bake it first")


def _note_compressed(output: Output, result: PushResult) -> None:
    """Keep the digest of a manifest with compressed layers, so that a spec may name the image by it."""
    record, digest = result.record, result.pushed_digest
    if digest in record.digests:
        return
    digests = tuple(sorted({*record.compressed_digests, digest}))
    output.add(replace(record, compressed_digests=digests))


def _image(item: BakeInputs, result: PushResult | None, host: str) -> dict[str, t.Any]:
    recipe = item.recipe
    shown = {"recipe": recipe.path, "name": recipe.name, "version": recipe.version}
    if result is None:
        nothing = (
            "reference",
            "registry_reference",
            "manifest_digest",
            "pushed_digest",
            "image_id",
        )
        return {**shown, "changed": True, **dict.fromkeys(nothing, ""), "transfer": {}}
    digest = result.pushed_digest
    return {
        **shown,
        "changed": bool(result.actions),
        "reference": f"{recipe.name}@{digest}" if digest else "",
        "registry_reference": f"{host}/{result.repository}@{digest}" if digest else "",
        "manifest_digest": result.record.manifest_digest,
        "pushed_digest": digest,
        "image_id": result.record.image_id,
        "transfer": dict(result.transfer),
    }


def _before(
    item: BakeInputs, results: t.Mapping[str, PushResult], options: PushOptions
) -> dict[str, t.Any]:
    result = results.get(item.recipe.tag)
    if result is not None:
        return dict(result.before)
    repository = repository_of(options.prefix, item.recipe.name)
    return {"repository": repository, "pushed": False, "tag": "", "attachments": 0}


def _after(
    item: BakeInputs, results: t.Mapping[str, PushResult], options: PushOptions
) -> dict[str, t.Any]:
    result = results.get(item.recipe.tag)
    if result is not None:
        return dict(result.after)
    tag = item.recipe.version if options.tags else ""
    return {**_before(item, results, options), "pushed": True, "tag": tag}


def _actions(item: BakeInputs, results: t.Mapping[str, PushResult], host: str) -> t.Sequence[str]:
    result = results.get(item.recipe.tag)
    return result.actions if result else [f"push {item.recipe.tag} to {host}"]
