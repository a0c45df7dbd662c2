# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check phase: judge images by the policy, our own and foreign ones; private, no stability promised."""

from __future__ import annotations

import contextlib
import datetime
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock, SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.factory import (
    DEFAULT_HOST,
    ENGINE_SPEC,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_files import scan_build
from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import (
    ImageContents,
    baked_contents,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import scan_files
from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
    Baked,
    Finding,
    ImageUnderCheck,
    Scans,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.foreign import (
    ForeignImage,
    open_archive,
    open_engine,
    open_layout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    Lock,
    read_lock,
    stale_parts,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.many import for_each
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import (
    DEFAULT_OUTPUT,
    Output,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.policy import (
    failure_line,
    judge,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    load_recipe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe_policy import (
    NO_POLICY,
    RULE_IDS,
    parse_policy,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    FOREIGN,
    BakeRecord,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import (
    DEFAULT_STORE,
    Store,
)

Params = t.Mapping[str, t.Any]
_SOURCES = ("archive", "layout", "image")
_MAX_CHAIN = 16

CHECK_SPEC: dict[str, t.Any] = {
    "recipes": {"type": "list", "elements": "path", "default": []},
    "output": {"type": "path", "default": DEFAULT_OUTPUT},
    "store": {"type": "path", "default": DEFAULT_STORE},
    "concurrency": {"type": "int", "default": 2},
    "images": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "archive": {"type": "path"},
            "layout": {"type": "path"},
            "image": {"type": "str"},
            "policy": {"type": "dict"},
        },
        "mutually_exclusive": [_SOURCES],
        "required_one_of": [_SOURCES],
    },
    "fail_on": {
        "type": "list",
        "elements": "str",
        "choices": list(RULE_IDS),
        "default": list(RULE_IDS),
    },
    "engine": {"type": "dict", "options": ENGINE_SPEC, "default": {}},
}


@dataclass(frozen=True)
class Checked:
    """One image and what the policy found."""

    source: str
    name: str
    image_id: str
    findings: tuple[Finding, ...]

    def failures(self, fail_on: t.Collection[str]) -> list[Finding]:
        """Return the findings that stop it."""
        return [found for found in self.findings if found.fails and found.rule in fail_on]

    def to_mapping(self, fail_on: t.Collection[str]) -> dict[str, t.Any]:
        """Return the result as plain data."""
        return {
            "source": self.source,
            "name": self.name,
            "image_id": self.image_id,
            "passed": not self.failures(fail_on),
            "findings": [finding.to_mapping() for finding in self.findings],
        }


def check_images(params: Params, clock: Clock | None = None) -> dict[str, t.Any]:
    """Check every image of the recipes, then every foreign one; fail after all of them."""
    today = datetime.datetime.fromtimestamp((clock or SystemClock()).now(), datetime.UTC).date()
    recipes = [load_recipe(path) for path in _paths(params)]
    output = Output(params["output"])
    store = Store(params.get("store", DEFAULT_STORE))
    scans: Scans = {}
    work: list[t.Callable[[], list[Checked]]] = [
        *[
            lambda recipe=recipe: [check_baked(recipe, output, store, today, scans)]
            for recipe in recipes
        ],
        *[
            lambda item=item, number=number: check_foreign(item, number, params["engine"], today)
            for number, item in enumerate(params["images"])
        ],
    ]
    if not work:
        raise InvalidInput("recipes", [], "must name at least one recipe, or images a foreign one")
    groups = for_each(work, _attempt, params["concurrency"])
    checked = [result for group in groups for result in group.checked]
    errors = [group.error for group in groups if group.error is not None]
    return _answer(checked, errors, params["fail_on"])


@dataclass(frozen=True)
class _Attempt:
    """What looking at one recipe or one foreign source gave: images, or why there are none."""

    checked: tuple[Checked, ...] = ()
    error: CutoverError | None = None


def _attempt(work: t.Callable[[], list[Checked]]) -> _Attempt:
    # An image that cannot be opened must not hide what is wrong with the others.
    try:
        return _Attempt(tuple(work()))
    except CutoverError as error:
        return _Attempt(error=error)


def _paths(params: Params) -> list[str]:
    paths = [os.path.abspath(os.path.expanduser(path)) for path in params["recipes"]]
    if len(set(paths)) != len(paths):
        raise InvalidInput("recipes", paths, "must not name a recipe twice")
    return paths


def _answer(
    checked: t.Sequence[Checked], errors: t.Sequence[CutoverError], fail_on: t.Collection[str]
) -> dict[str, t.Any]:
    images = [result.to_mapping(fail_on) for result in checked]
    lines = [error.message for error in errors]
    lines += [
        failure_line(result.name, finding)
        for result in checked
        for finding in result.failures(fail_on)
    ]
    if lines:
        details = [{"message": error.message, **error.details} for error in errors]
        raise CutoverError("\n".join(lines), images=images, errors=details)
    return {"changed": False, "images": images}


def check_baked(
    recipe: Recipe, output: Output, store: Store, today: datetime.date, scans: Scans
) -> Checked:
    """Check the image of a recipe against its lock, its base and its policy."""
    record = output.find(recipe.name, recipe.version)
    if record is None or not output.layout.complete(record):
        raise CutoverError(f"{recipe.tag} is not in {output.root}; bake it first")
    chain, problems = _chain(output, record)
    lock, own_problems = _own_lock(recipe)
    with contextlib.ExitStack() as stack:
        image = stack.enter_context(baked_contents(output.layout, record))
        below = chain[0] if chain else None
        base = _base(image, record, below, output, stack) if below else None
        lowest = chain[-1] if chain and chain[-1].kind == FOREIGN else None
        check = ImageUnderCheck(
            image=image,
            policy=recipe.policy,
            today=today,
            baked=Baked(
                recipe=recipe,
                record=record,
                lock=lock,
                lock_problems=(*own_problems, *problems),
                base=base,
                base_record=below,
                base_locks=tuple(_kept_locks(output, chain)),
                store=store,
                foreign=_base(image, record, lowest, output, stack) if lowest else None,
            ),
            scans=scans,
        )
        return Checked(recipe.path, record.tag, record.image_id, tuple(judge(check)))


def _base(
    image: ImageContents,
    record: BakeRecord,
    below: BakeRecord,
    output: Output,
    stack: contextlib.ExitStack,
) -> ImageContents:
    """Look into the base; its layers are open already if they are the first ones of the image."""
    count = len(below.layers)
    if [layer.digest for layer in record.layers[:count]] == [
        layer.digest for layer in below.layers
    ]:
        config = output.layout.read_json(below.image_id)
        return ImageContents(below.tag, config, image.layers[:count])
    return stack.enter_context(baked_contents(output.layout, below))


def _chain(output: Output, record: BakeRecord) -> tuple[list[BakeRecord], list[str]]:
    """Return the bases below an image, the nearest first, and what is not there."""
    chain: list[BakeRecord] = []
    problems: list[str] = []
    reference = record.base
    while reference and len(chain) < _MAX_CHAIN:
        try:
            below = output.find_reference(reference)
            chain.append(below)
            if below.kind != FOREIGN:
                output.lock_of(below)
        except CutoverError as error:
            problems.append(error.message)
        if not chain or chain[-1].base == reference:
            break
        reference = chain[-1].base
    return chain, problems


def _kept_locks(output: Output, chain: t.Sequence[BakeRecord]) -> t.Iterator[Lock]:
    """Yield the locks of the bases, the deepest first."""
    for record in reversed(chain):
        with contextlib.suppress(CutoverError):
            yield output.lock_of(record)


def _own_lock(recipe: Recipe) -> tuple[Lock | None, list[str]]:
    lock = read_lock(recipe.lock_path)
    if lock is None:
        return None, [f"lock not found: {recipe.lock_path}"]
    stale = stale_parts(recipe, lock, scan_files(recipe), scan_build(recipe))
    return lock, [f"lock does not match {', '.join(stale)}; lock and bake again"] if stale else []


def check_foreign(item: Params, number: int, engine: Params, today: datetime.date) -> list[Checked]:
    """Check every image of an archive, a layout or a reference that somebody else built."""
    path = f"images[{number}]"
    given = item.get("policy")
    policy = parse_policy(given, f"{path}.policy", "options") if given else NO_POLICY
    source = next(str(item[key]) for key in _SOURCES if item.get(key))
    results = []
    with _opened(item, engine) as images:
        for image in images:
            check = ImageUnderCheck(image.contents, policy, today, image.tags)
            findings = tuple(judge(check))
            results.append(Checked(source, image.contents.name, image.image_id, findings))
    return results


def _opened(item: Params, engine: Params) -> t.ContextManager[list[ForeignImage]]:
    if item.get("archive"):
        return open_archive(item["archive"])
    if item.get("layout"):
        return open_layout(item["layout"])
    # Importing the SDK takes 0.2 s, and what never connects must not pay for it.
    from ansible_collections.immutable.cutover.plugins.module_utils._image import engine_images

    connection = engine_images.EngineImages(
        engine.get("host") or DEFAULT_HOST, engine.get("timeout") or 60
    )
    return open_engine(connection.save, item["image"])
