# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling as a module sees it: options in, plain results out; private, no stability promised."""

from __future__ import annotations

import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._argspec import HOST_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._engine.factory import DEFAULT_HOST
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import report_each
from ansible_collections.immutable.cutover.plugins.module_utils._image.pull import (
    Pull,
    PullOptions,
    PullResult,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.push_front import (
    PLACE_SPEC,
    repository_prefix,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    ImageReference,
    parse_reference,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    registry_options,
)

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
        EngineImages,
    )

Params = t.Mapping[str, t.Any]
IMAGES_SPEC: dict[str, t.Any] = {
    "images": {"type": "list", "elements": "str", "required": True},
}
PULL_SPEC: dict[str, t.Any] = {
    **PLACE_SPEC,
    **HOST_SPEC,
    **IMAGES_SPEC,
    "load": {"type": "bool", "default": True},
    "output": {"type": "path", "default": ""},
    "refresh_signatures": {"type": "bool", "default": False},
    "foreign": {"type": "bool", "default": False},
}


def pull_images(params: Params, check: bool) -> dict[str, t.Any]:
    """Pull every image; nothing is changed before all options are valid."""
    if not params["load"] and not params["output"]:
        raise InvalidInput("output", "", "must be set with load: false")
    if params.get("foreign") and params["load"]:
        rule = "must be false with load: what is released was baked by this collection"
        raise InvalidInput("foreign", True, rule)
    place = registry_options(params["registry"])
    references = image_references(params["images"])
    options = PullOptions(
        state_dir=params["state_dir"],
        output=params["output"],
        prefix=repository_prefix(params["repository_prefix"]),
        check=check,
        refresh_signatures=params.get("refresh_signatures", False),
        foreign=params.get("foreign", False),
    )
    registry = Registry(place)
    engine = engine_images(params) if params["load"] else None
    pulls = [Pull(reference, registry, options, engine) for reference in references]
    return report_each(pulls, Pull.ensure, params["concurrency"], _report)


def _report(results: t.Sequence[PullResult]) -> dict[str, t.Any]:
    before = {str(result.reference): dict(result.before) for result in results}
    after = {str(result.reference): dict(result.after) for result in results}
    return {
        "changed": any(result.actions for result in results),
        "images": [_image(result) for result in results],
        "before": before,
        "after": after,
        "actions": [action for result in results for action in result.actions],
        "diff": {"before": before, "after": after},
    }


def image_references(given: t.Sequence[str]) -> list[ImageReference]:
    """Validate the option C(images)."""
    if not given:
        raise InvalidInput("images", given, "must name at least one image")
    found = [parse_reference(item, f"images[{index}]") for index, item in enumerate(given)]
    if len(set(found)) != len(found):
        raise InvalidInput("images", given, "must not name an image twice")
    return found


def engine_images(params: Params) -> EngineImages:
    """Connect to the engine of the host."""
    # Importing the SDK takes 0.2 s, and what never connects must not pay for it.
    from ansible_collections.immutable.cutover.plugins.module_utils._image import (
        engine_images as driver,
    )

    options = params["engine"] or {}
    return driver.EngineImages(options.get("host") or DEFAULT_HOST, options.get("timeout") or 60)


def _image(result: PullResult) -> dict[str, t.Any]:
    record = result.record
    return {
        "reference": str(result.reference),
        "changed": bool(result.actions),
        "image_id": record.image_id if record else "",
        "manifest_digest": record.manifest_digest if record else "",
        "record": record.to_mapping() if record else {},
        "downloaded": result.downloaded,
        "bytes": result.bytes,
    }
