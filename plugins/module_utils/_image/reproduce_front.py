# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and results of image_verify; private, no stability promised."""

from __future__ import annotations

import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._engine.factory import ENGINE_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import (
    BakeInputs,
    BakeOptions,
    read_inputs,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_plan import BACKENDS
from ansible_collections.immutable.cutover.plugins.module_utils._image.front import (
    BUILD_SPEC,
    FETCH_SPEC,
    Params,
    _recipes,
    engine_host,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import for_each
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import run_tool
from ansible_collections.immutable.cutover.plugins.module_utils._image.reproduce import (
    Verified,
    as_mapping,
    verify,
)

VERIFY_SPEC: dict[str, t.Any] = {
    **{name: option for name, option in FETCH_SPEC.items() if name != "apt_sources"},
    **BUILD_SPEC,
    "engine": {"type": "dict", "options": ENGINE_SPEC, "default": {}},
}


def verify_images(params: Params) -> dict[str, t.Any]:
    """Bake every recipe again and compare; a difference is a failure that names the first one of each image."""
    output, workers = Output(params["output"]), params["concurrency"]
    options = BakeOptions(
        params["store"],
        params["output"],
        "",
        engine_host=engine_host(params),
        secrets=params.get("secrets") or {},
        backend=params.get("backend") or BACKENDS[0],
    )
    inputs = for_each(_recipes(params), read_inputs, workers)

    def work(item: BakeInputs) -> Verified:
        return verify(item, output, options, run_tool)

    images = [as_mapping(item) for item in for_each(inputs, work, workers)]
    different = [f"{i['tag']} differs: {i['difference']}" for i in images if not i["same"]]
    if different:
        raise CutoverError("\n".join(different), images=images)
    return {"changed": False, "images": images}
