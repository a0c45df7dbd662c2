# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bake phases of one recipe in order: compare, fetch, assemble, publish, load; private, no stability promised."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.immutable.cutover.plugins.module_utils._engine.factory import DEFAULT_HOST
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_plan import (
    BACKENDS,
    build_files_of,
    refuse_build,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import (
    FileInput,
    scan_files,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.loaded import (
    note_loaded,
    still_loaded,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    Lock,
    recipe_hash,
    require_fresh,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import Run
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    Recipe,
    load_recipe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    Known,
    host_record_path,
    nothing_known,
    read_record,
    write_host_record,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import (
    ETC_APT,
    Store,
    missing_inputs,
    require_fetched,
)

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
        EngineImages,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._image.making import (
        Builder,
        Making,
        Start,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
        BaseImage,
        Blob,
    )


@dataclass(frozen=True)
class BakeOptions:
    """Where inputs and images are, and what to do with what was baked."""

    store: str
    output: str
    state_dir: str
    archive: bool = False
    check: bool = False
    fetch: bool = True
    apt_sources: str = ETC_APT
    engine_host: str = DEFAULT_HOST
    secrets: t.Mapping[str, str] = field(default_factory=dict)
    backend: str = BACKENDS[0]

    @property
    def builder(self) -> Builder:
        """Return where something can be built."""
        from ansible_collections.immutable.cutover.plugins.module_utils._image.making import Builder

        return Builder(self.engine_host, self.store, self.secrets, self.backend)


@dataclass(frozen=True)
class BakeResult:
    """What baking one recipe did, or would do; record is None only in check mode."""

    recipe: Recipe
    recipe_hash: str
    record: BakeRecord | None
    before: t.Mapping[str, t.Any]
    after: t.Mapping[str, t.Any]
    actions: tuple[str, ...]
    how: str = "unchanged"
    why: str = ""

    @property
    def changed(self) -> bool:
        """Tell whether there was anything to do."""
        return bool(self.actions)


@dataclass(frozen=True)
class BakeInputs:
    """Everything a bake depends on, read and validated before anything changes."""

    recipe: Recipe
    files: tuple[FileInput, ...]
    lock: Lock
    hash: str
    build: tuple[FileInput, ...] = ()


def read_inputs(path: str, known: Known = nothing_known) -> BakeInputs:
    """Read recipe, files and lock; the lock must describe the other two."""
    recipe = load_recipe(path, known)
    files, build = scan_files(recipe), build_files_of(recipe)
    lock = require_fresh(recipe, files, build)
    return BakeInputs(recipe, files, lock, recipe_hash(recipe, lock), build)


def refuse_duplicates(inputs: t.Sequence[BakeInputs]) -> None:
    """Refuse two recipes that would produce one image."""
    seen: dict[str, str] = {}
    for item in inputs:
        tag = item.recipe.tag
        if tag in seen:
            raise CutoverError(f"output {tag} produced twice: {seen[tag]} and {item.recipe.path}")
        seen[tag] = item.recipe.path


class Bake:
    """One recipe on its way to an image."""

    def __init__(
        self,
        inputs: BakeInputs,
        options: BakeOptions,
        engine: EngineImages | None,
        run: Run,
        loaded: bool = False,
    ) -> None:
        self.inputs = inputs
        self.recipe = inputs.recipe
        self.options = options
        self.engine = engine
        self.run = run
        self.output = Output(options.output)
        self.loaded = loaded
        self.actions: list[str] = []
        self.how, self.why = "unchanged", ""

    def ensure(self) -> BakeResult:
        """Make sure the image exists, and is on the engine if there is one."""
        known = self._known()
        if known is None:
            refuse_build(self.recipe, self.options.builder)
        before = self._state(known)
        if self.options.check:
            record = known
            if known is None:
                reused: t.Mapping[str, Blob] = {}
                with contextlib.suppress(CutoverError):
                    # In check mode the base may be one that would only be baked.
                    reused = self._reusable(self._base())
                self._would_fetch(self._needed(reused))
                self._will_bake()
        else:
            record = known or self._bake()
            record = self._archived(record)
        if self.engine is not None:
            self._load(self.engine, record)
        after = self._after(record)
        return BakeResult(
            self.recipe,
            self.inputs.hash,
            record,
            before,
            after,
            tuple(self.actions),
            self.how,
            self.why,
        )

    def _will_bake(self) -> None:
        if self.how == "unchanged":
            self.how = "baked"
        self._will(f"{'rebase' if self.how == 'rebased' else 'bake'} {self.recipe.tag}")

    def _reusable(self, base: BaseImage | None) -> t.Mapping[str, Blob]:
        """Return what an older version has already, and note whether that makes this a rebase."""
        if self.options.backend != BACKENDS[0]:
            return {}
        # Unpacking and writing layers takes half as long to import as to do, and most calls find everything done.
        from ansible_collections.immutable.cutover.plugins.module_utils._image.reuse import (
            find_reusable,
        )

        keep = not self.options.check
        found = find_reusable(self.output, self.recipe, self.inputs.lock, base, keep)
        if found.whole:
            self.how = "rebased" if found.rebased else "reused"
        self.why = found.why_not
        return found.layers

    def _will(self, action: str) -> None:
        self.actions.append(action)

    def _known(self) -> BakeRecord | None:
        """Return the finished image of exactly these inputs; another of this version is an error."""
        record = self.output.find(self.recipe.name, self.recipe.version)
        if record is not None:
            self._refuse_other(record.recipe_hash, self.output.root)
        if self.engine is not None:
            self._refuse_other(self.engine.hash_of_tag(self.recipe.tag), self.engine.host)
        if record is not None and self.output.layout.complete(record):
            return record
        return None

    def _refuse_other(self, found: str, where: str) -> None:
        if found and found != self.inputs.hash:
            raise CutoverError(
                f"{self.recipe.tag} exists in {where} with other content: a version never changes; "
                f"bump the version in {self.recipe.path}",
                found_hash=found,
                recipe_hash=self.inputs.hash,
            )

    def _bake(self) -> BakeRecord:
        self.output.create()
        with self.output.exclusively(self.recipe.name, self.recipe.version):
            known = self._known()
            if known is not None:
                return known
            store = Store(self.options.store)
            lock = self.inputs.lock
            base = self._base()
            reused = self._reusable(base)
            self._fetch(store, self._needed(reused))
            from ansible_collections.immutable.cutover.plugins.module_utils._image.assemble import (
                assemble,
            )

            record = assemble(
                self.recipe,
                lock,
                self.inputs.hash,
                self.inputs.files,
                base,
                store,
                self.output.layout,
                self.run,
                reused,
                self._making(),
            )
            self.output.keep_lock(record, lock)
            self.output.add(record)
            self._will_bake()
            return record

    def _making(self) -> Making:
        from ansible_collections.immutable.cutover.plugins.module_utils._image.making import Making

        return Making(self.options.builder, self.inputs.build, self._origin)

    def _origin(self, reference: str) -> Start:
        """Return the image below another stage of a Dockerfile."""
        from ansible_collections.immutable.cutover.plugins.module_utils._image.assemble import (
            load_base,
        )
        from ansible_collections.immutable.cutover.plugins.module_utils._image.making import Start

        record = self.output.find_reference(reference, "FROM")
        base = load_base(self.output.layout, record)
        return Start(base.config, base.layers)

    def _needed(self, reused: t.Mapping[str, Blob]) -> Lock:
        """Return what is locked without what a reused layer holds already."""
        lock = self.inputs.lock
        return replace(lock, python=()) if "wheels" in reused else lock

    def _fetch(self, store: Store, lock: Lock) -> None:
        if not self.options.fetch:
            require_fetched(self.recipe, lock, store)
            return
        from ansible_collections.immutable.cutover.plugins.module_utils._image.fetch import fetch

        fetched = fetch(self.recipe, lock, store, self.run, self.options.apt_sources)
        if fetched:
            self._will(f"fetch {len(fetched)} inputs of {self.recipe.tag}")

    def _would_fetch(self, lock: Lock) -> None:
        store = Store(self.options.store)
        if not self.options.fetch:
            require_fetched(self.recipe, lock, store)
        missing = missing_inputs(lock, store).names
        if missing:
            self._will(f"fetch {len(missing)} inputs of {self.recipe.tag}")

    def _base(self) -> BaseImage | None:
        locked = self.inputs.lock.base
        if locked is None:
            return None
        record = self.output.find_reference(locked.ref)
        from ansible_collections.immutable.cutover.plugins.module_utils._image.assemble import (
            load_base,
        )

        base = load_base(self.output.layout, record)
        if tuple(layer.digest for layer in base.layers) != locked.diff_ids:
            raise CutoverError(f"base {locked.ref}: layers are not the locked ones; lock again")
        self._refuse_other_python(base)
        return base

    def _refuse_other_python(self, base: BaseImage) -> None:
        wanted = self.recipe.python.version if self.recipe.python else ""
        from ansible_collections.immutable.cutover.plugins.module_utils._image.reuse import abi_of

        has = dict(part.split("=") for part in abi_of(base).split() if "=" in part).get("python")
        if wanted and has not in (None, "none", wanted):
            raise CutoverError(
                f"{self.recipe.path}: python.version: wheels are locked for Python {wanted}, "
                f"but {base.record.tag} has Python {has}; set it to '{has}' and lock again"
            )

    def _archived(self, record: BakeRecord) -> BakeRecord:
        path = self.output.archive_path(record.name, record.version)
        if not self.options.archive or record.archive == path:
            return record
        from ansible_collections.immutable.cutover.plugins.module_utils._image.docker_archive import (
            docker_archive,
        )

        archived = replace(record, archive=path)
        self.output.write_archive(archived, docker_archive(self.output.layout, archived))
        self.output.add(archived)
        self._will(f"write the archive of {record.tag}")
        return archived

    def _load(self, engine: EngineImages, record: BakeRecord | None) -> None:
        if record is None:
            self._will(f"load {self.recipe.tag}")
            return
        state_dir = self.options.state_dir
        if not engine.has(record.image_id):
            if not self.options.check:
                engine.load(self.output.layout, record)
            self._will(f"load {record.tag}")
        elif not engine.tagged(record):
            if not self.options.check:
                engine.tag(record)
            self._will(f"tag {record.tag}")
        if not is_recorded(state_dir, record):
            if not self.options.check:
                write_host_record(state_dir, record)
            self._will(f"record {record.tag}")

        if not self.options.check and not still_loaded(state_dir, record, engine.host):
            note_loaded(state_dir, record, engine.host, engine.info())

    def _state(self, record: BakeRecord | None) -> dict[str, t.Any]:
        loaded = self.loaded
        if record is not None and self.engine is not None:
            loaded = self.engine.has(record.image_id)
        return {
            "tag": self.recipe.tag,
            "baked": record is not None,
            "loaded": loaded,
            "recipe_hash": record.recipe_hash if record else "",
        }

    def _after(self, record: BakeRecord | None) -> dict[str, t.Any]:
        return {
            "tag": self.recipe.tag,
            "baked": True,
            "loaded": self.loaded or self.engine is not None,
            "recipe_hash": self.inputs.hash,
        }


def is_recorded(state_dir: str, record: BakeRecord) -> bool:
    """Tell whether the host has the record of this image."""
    try:
        found = read_record(host_record_path(state_dir, record.image_id))
    except CutoverError:
        return False
    # The same image may have been baked into another folder too, and pushed with its layers compressed.
    found = replace(found, layout=record.layout, archive=record.archive)
    return replace(found, compressed_digests=record.compressed_digests) == record


def surely_loaded(inputs: BakeInputs, options: BakeOptions, host: str) -> bool:
    """Tell whether the image of these inputs is finished, recorded and on the engine, without asking the engine."""
    output = Output(options.output)
    record = output.find(inputs.recipe.name, inputs.recipe.version)
    return (
        record is not None
        and record.recipe_hash == inputs.hash
        and output.layout.complete(record)
        and is_recorded(options.state_dir, record)
        and still_loaded(options.state_dir, record, host)
    )
