# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the image modules share: options in, plain results out; private, no stability promised."""

from __future__ import annotations

import os
import typing as t
from functools import partial

from ansible_collections.immutable.cutover.plugins.module_utils._engine.factory import (
    DEFAULT_HOST,
    ENGINE_SPEC,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import (
    Bake,
    BakeInputs,
    BakeOptions,
    BakeResult,
    read_inputs,
    refuse_duplicates,
    surely_loaded,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_plan import BACKENDS
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import (
    for_each,
    report_each,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import (
    DEFAULT_OUTPUT,
    Output,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import run_tool
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    read_host_records,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import (
    DEFAULT_STORE,
    ETC_APT,
    Store,
    missing_inputs,
)
from ansible_collections.immutable.cutover.plugins.module_utils._state import DEFAULT_STATE_DIR

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image import locker
    from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
        EngineImages,
    )

Params = t.Mapping[str, t.Any]

_RECIPES: dict[str, t.Any] = {
    "recipes": {"type": "list", "elements": "path", "required": True},
    "output": {"type": "path", "default": DEFAULT_OUTPUT},
    "concurrency": {"type": "int", "default": 2},
}
_ENGINE: dict[str, t.Any] = {
    "engine": {"type": "dict", "options": ENGINE_SPEC, "default": {}},
    "state_dir": {"type": "path", "default": DEFAULT_STATE_DIR},
}
_APT: dict[str, t.Any] = {"apt_sources": {"type": "path", "default": ETC_APT}}
_STORE: dict[str, t.Any] = {"store": {"type": "path", "default": DEFAULT_STORE}}
LOCK_SPEC: dict[str, t.Any] = {
    **_RECIPES,
    **_STORE,
    **_APT,
    "upgrade": {"type": "bool", "default": False},
    "upgrade_packages": {"type": "list", "elements": "str", "default": []},
    "unknown_packages": {"type": "str", "choices": ["fail", "ignore"], "default": "fail"},
    "epoch": {"type": "int"},
    "arch": {"type": "str", "choices": ["amd64", "arm64"]},
}
FETCH_SPEC: dict[str, t.Any] = {**_RECIPES, **_STORE, **_APT}
# Files with secrets, not secrets.
SECRETS_SPEC: dict[str, t.Any] = {"secrets": {"type": "dict", "default": {}, "no_log": False}}
BUILD_SPEC: dict[str, t.Any] = {
    **SECRETS_SPEC,
    "backend": {"type": "str", "choices": list(BACKENDS), "default": BACKENDS[0]},
}
IMAGE_SPEC: dict[str, t.Any] = {
    **_RECIPES,
    **_ENGINE,
    **_STORE,
    **_APT,
    **BUILD_SPEC,
    "fetch": {"type": "bool", "default": True},
    "load": {"type": "bool", "default": True},
    "archive": {"type": "bool", "default": False},
}
ATTEST_SPEC: dict[str, t.Any] = {
    **_RECIPES,
    "key": {"type": "path", "no_log": False},
    "key_passphrase": {"type": "str", "no_log": True},
    "load": {"type": "bool", "default": True},
    "state_dir": {"type": "path", "default": DEFAULT_STATE_DIR},
}
INFO_SPEC: dict[str, t.Any] = {
    **_ENGINE,
    "name": {"type": "str", "default": ""},
    "graph": {"type": "bool", "default": False},
    "base": {"type": "str", "default": ""},
    "output": {"type": "path", "default": DEFAULT_OUTPUT},
}


def lock_images(params: Params, check: bool) -> dict[str, t.Any]:
    """Lock every recipe; return what changed."""
    # Only this phase needs what resolves.
    from ansible_collections.immutable.cutover.plugins.module_utils._image import locker

    epoch = params["epoch"]
    if epoch is not None and not 0 <= epoch < 1 << 33:
        raise InvalidInput("epoch", epoch, "must be seconds since 1970, 0-8589934591")
    options = locker.LockOptions(
        output=params["output"],
        arch=params["arch"] or "",
        epoch=epoch,
        upgrade=params["upgrade"],
        upgrade_packages=tuple(params["upgrade_packages"]),
        store=params["store"],
        apt_sources=params.get("apt_sources", ETC_APT),
    )
    recipes = _recipes(params)
    unknown = locker.unknown_packages(recipes, options.upgrade_packages)
    if unknown and params["unknown_packages"] == "fail":
        raise InvalidInput("upgrade_packages", unknown[0], "must be in the lock of a recipe")

    def lock(path: str) -> tuple[str, locker.LockResult]:
        return path, locker.lock_recipe(path, options, run_tool, write=not check)

    found = report_each(recipes, lock, params["concurrency"], _locked)
    return {**found, "unknown_packages": unknown}


def _locked(pairs: t.Sequence[tuple[str, locker.LockResult]]) -> dict[str, t.Any]:
    results = [result for _recipe, result in pairs]
    before = {result.path: result.before for result in results}
    after = {result.path: result.after for result in results}
    return {
        "changed": before != after,
        "locks": [
            {"recipe": path, "path": result.path, "changed": result.changed}
            for path, result in pairs
        ],
        "before": before,
        "after": after,
        "actions": [action for result in results for action in result.actions],
        "diff": [
            {
                "before_header": result.path,
                "after_header": result.path,
                "before": result.before,
                "after": result.after,
            }
            for result in results
            if result.changed
        ],
    }


def fetch_images(
    params: Params, check: bool, first: t.Callable[[BakeInputs], None] = lambda item: None
) -> dict[str, t.Any]:
    """Bring the locked inputs of every recipe into the store, by C(first) what it can; return what was missing."""
    # Only this phase needs what downloads.
    from ansible_collections.immutable.cutover.plugins.module_utils._image.fetch import fetch

    store = Store(params["store"])
    workers = params["concurrency"]
    inputs = for_each(_recipes(params), read_inputs, workers)

    def work(item: BakeInputs) -> tuple[BakeInputs, list[str]]:
        names = missing_inputs(item.lock, store).names
        if names and not check:
            first(item)
            fetch(item.recipe, item.lock, store, run_tool, params.get("apt_sources", ETC_APT))
        return item, names

    return report_each(inputs, work, workers, _fetched)


def _fetched(pairs: t.Sequence[tuple[BakeInputs, list[str]]]) -> dict[str, t.Any]:
    before = {item.recipe.tag: {"missing": names} for item, names in pairs}
    after: dict[str, t.Any] = {item.recipe.tag: {"missing": []} for item, _names in pairs}
    return {
        "changed": any(names for _item, names in pairs),
        "inputs": [
            {"recipe": item.recipe.path, "changed": bool(names), "fetched": names}
            for item, names in pairs
        ],
        "before": before,
        "after": after,
        "actions": [
            f"fetch {len(names)} inputs of {item.recipe.tag}" for item, names in pairs if names
        ],
        "diff": {"before": before, "after": after},
    }


def bake_images(params: Params, check: bool) -> dict[str, t.Any]:
    """Bake every recipe that needs it; nothing is changed before all of them are valid."""
    options = BakeOptions(
        store=params["store"],
        output=params["output"],
        state_dir=params["state_dir"],
        archive=params["archive"],
        check=check,
        fetch=params["fetch"],
        apt_sources=params.get("apt_sources", ETC_APT),
        engine_host=engine_host(params),
        secrets=params.get("secrets") or {},
        backend=params.get("backend") or BACKENDS[0],
    )
    workers = params["concurrency"]
    read = partial(read_inputs, known=Output(params["output"]).known)
    inputs = for_each(_recipes(params), read, workers)
    refuse_duplicates(inputs)

    def bake(item: BakeInputs) -> BakeResult:
        loaded = params["load"] and surely_loaded(item, options, engine_host(params))
        engine = _engine(params) if params["load"] and not loaded else None
        return Bake(item, options, engine, run_tool, loaded).ensure()

    return report_each(inputs, bake, workers, _baked)


def _baked(results: t.Sequence[BakeResult]) -> dict[str, t.Any]:
    before = {result.recipe.tag: dict(result.before) for result in results}
    after = {result.recipe.tag: dict(result.after) for result in results}
    return {
        "changed": any(result.changed for result in results),
        "images": [_image(result) for result in results],
        "before": before,
        "after": after,
        "actions": [action for result in results for action in result.actions],
        "diff": {"before": before, "after": after},
    }


def _image(result: BakeResult) -> dict[str, t.Any]:
    record = result.record
    return {
        "recipe": result.recipe.path,
        "changed": result.changed,
        "how": result.how,
        "why": result.why,
        "name": result.recipe.name,
        "version": result.recipe.version,
        "recipe_hash": result.recipe_hash,
        "reference": record.reference if record else "",
        "manifest_digest": record.manifest_digest if record else "",
        "image_id": record.image_id if record else "",
        "record": record.to_mapping() if record else {},
    }


def attest_images(params: Params, check: bool) -> dict[str, t.Any]:
    """Describe and sign every image; nothing is changed before all recipes and the key are valid."""
    # Only this phase needs what describes and signs.
    from ansible_collections.immutable.cutover.plugins.module_utils._image import attest, signature

    options = attest.AttestOptions(
        output=params["output"],
        state_dir=params["state_dir"] if params["load"] else "",
        check=check,
    )
    workers = params["concurrency"]
    inputs = for_each(_recipes(params), read_inputs, workers)
    refuse_duplicates(inputs)
    key = None
    if params["key"]:
        key = signature.load_signing_key(params["key"], params["key_passphrase"] or "")

    def ensure(item: BakeInputs) -> attest.AttestResult:
        return attest.Attest(item, options, key).ensure()

    def report(results: t.Sequence[attest.AttestResult]) -> dict[str, t.Any]:
        before = {result.recipe.tag: dict(result.before) for result in results}
        after = {result.recipe.tag: dict(result.after) for result in results}
        return {
            "changed": any(result.actions for result in results),
            "images": [attest.as_data(result) for result in results],
            "before": before,
            "after": after,
            "actions": [action for result in results for action in result.actions],
            "diff": {"before": before, "after": after},
        }

    return report_each(inputs, ensure, workers, report)


def list_images(params: Params) -> dict[str, t.Any]:
    """List images and records, of one repository or all."""
    from ansible_collections.immutable.cutover.plugins.module_utils._image.graph import graph, lines

    wanted = params["name"]
    records, unreadable = read_host_records(params["state_dir"])
    # What stands on what is in the records: a build host may have no engine.
    images = [] if params["graph"] else _engine(params).list_ours()
    found: dict[str, t.Any] = {}
    if params["graph"]:
        bases = graph(Output(params["output"]).records(), records, params["base"])
        found = {"graph": bases, "graph_lines": lines(bases)}
    return {
        **found,
        "changed": False,
        "images": [image for image in images if wanted in ("", image["name"])],
        "records": [r.to_mapping() for r in records if wanted in ("", r.name)],
        "unreadable": unreadable,
    }


def _engine(params: Params) -> EngineImages:
    """Return the engine of these options."""
    # Importing the SDK takes 0.2 s, and what never connects must not pay for it.
    from ansible_collections.immutable.cutover.plugins.module_utils._image import engine_images

    timeout = (params["engine"] or {}).get("timeout") or 60
    return engine_images.EngineImages(engine_host(params), timeout)


def engine_host(params: Params) -> str:
    """Return the address of the engine."""
    return (params.get("engine") or {}).get("host") or DEFAULT_HOST


def _recipes(params: Params) -> list[str]:
    """Return the recipe files by their whole path."""
    recipes = [os.path.abspath(os.path.expanduser(path)) for path in params["recipes"]]
    if not recipes:
        raise InvalidInput("recipes", recipes, "must name at least one recipe")
    if len(set(recipes)) != len(recipes):
        raise InvalidInput("recipes", recipes, "must not name a recipe twice")
    return recipes
