# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and results of image_rebase; private, no stability promised."""

from __future__ import annotations

import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import (
    BakeOptions,
    refuse_duplicates,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.front import (
    IMAGE_SPEC,
    Params,
    _engine,
    _recipes,
    engine_host,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import (
    for_each,
    report_each,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import run_tool
from ansible_collections.immutable.cutover.plugins.module_utils._image.rebase import (
    BUMPS,
    Rebase,
    Rebased,
    carry_out,
    find_base,
    plan_rebase,
)

REBASE_SPEC: dict[str, t.Any] = {
    **{name: spec for name, spec in IMAGE_SPEC.items() if name not in ("apt_sources", "backend")},
    "base": {"type": "str", "required": True},
    "bump": {"type": "str", "choices": list(BUMPS), "default": "patch"},
}

_Done = tuple[str, "Rebase | Rebased", Rebased]
"""A recipe, what was to become of it, and what became of it."""


def rebase_images(params: Params, check: bool) -> dict[str, t.Any]:
    """Move every recipe that stands on another version of a base to this one; all are validated before any changes."""
    options = BakeOptions(
        store=params["store"],
        output=params["output"],
        state_dir=params["state_dir"],
        archive=params["archive"],
        check=check,
        fetch=params["fetch"],
        engine_host=engine_host(params),
        secrets=params.get("secrets") or {},
    )
    output = Output(params["output"])
    base = find_base(output, params["base"])
    recipes, workers = _recipes(params), params["concurrency"]

    def plan(path: str) -> Rebase | Rebased:
        return plan_rebase(path, base, output, params["bump"])

    planned = for_each(recipes, plan, workers)
    if all(isinstance(item, Rebased) and item.why != "it stands on it" for item in planned):
        raise InvalidInput("base", params["base"], "must be a base that a recipe stands on")
    refuse_duplicates([item.new for item in planned if isinstance(item, Rebase)])

    def work(item: tuple[str, Rebase | Rebased]) -> _Done:
        path, move = item
        if isinstance(move, Rebased):
            return path, move, move
        engine = _engine(params) if params["load"] else None
        return path, move, carry_out(move, options, engine, run_tool)

    return report_each(list(zip(recipes, planned, strict=True)), work, workers, _report)


def _report(done: t.Sequence[_Done]) -> dict[str, t.Any]:
    results = [result for _path, _move, result in done]
    before = {
        path: _standing(move.old if isinstance(move, Rebase) else move)
        for path, move, _result in done
    }
    after = {
        path: _standing(move.new if isinstance(move, Rebase) else move)
        for path, move, _result in done
    }
    return {
        "changed": before != after,
        "images": [_image(result) for result in results],
        "before": before,
        "after": after,
        "actions": [line for result in results for line in _actions(result)],
        "diff": {"before": before, "after": after},
    }


def _standing(item: t.Any) -> dict[str, str]:
    return {"version": item.recipe.version, "base": item.recipe.base}


def _image(item: Rebased) -> dict[str, t.Any]:
    record = item.result.record if item.result else item.old
    how = item.result.how if item.result else "unchanged"
    return {
        "recipe": item.recipe.path,
        "name": item.recipe.name,
        "version": item.recipe.version,
        "how": {"baked": "rebuilt", "reused": "rebased"}.get(how, how),
        "why": item.why,
        "old": item.old.reference if item.old else "",
        "reference": record.reference if record else "",
        "image_id": record.image_id if record else "",
    }


def _actions(item: Rebased) -> list[str]:
    return list(item.result.actions) if item.result else []
