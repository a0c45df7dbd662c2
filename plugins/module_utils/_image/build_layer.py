# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a recipe runs to one layer: load, build, compare, take away; private, no stability promised."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_files import (
    stage_files,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_python import (
    build_python,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_secrets import (
    Secrets,
    read_secrets,
    refuse_secrets,
    secrets_folder,
    stage_secrets,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import FileInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import Layer
from ansible_collections.immutable.cutover.plugins.module_utils._image.making import Builder, Start
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Layout
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import Run
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.build_container import (
        BuildEngine,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import (
        ImageContents,
    )
    from ansible_collections.immutable.cutover.plugins.module_utils._image.run_build import (
        BuildFolder,
    )

_MOUNTPOINTS = ("run", "tmp")


@dataclass(frozen=True)
class Built:
    """What a build gave: the recipe with all of its configuration, and the layer; None if nothing changed."""

    recipe: Recipe
    layer: Layer | None


class LayerBuild:
    """The build of one recipe. C(origins) finds the image below a stage of a Dockerfile."""

    def __init__(
        self,
        builder: Builder,
        recipe: Recipe,
        epoch: int,
        layout: Layout,
        folder: str,
        run: Run,
    ) -> None:
        self.builder, self.recipe, self.epoch = builder, recipe, epoch
        self.layout, self.folder, self.run = layout, folder, run

    @contextlib.contextmanager
    def _engine(self, secrets: Secrets) -> t.Iterator[BuildEngine]:
        # Importing the SDK takes 0.2 s, and what only assembles must not pay for it.
        from ansible_collections.immutable.cutover.plugins.module_utils._image import (
            build_container,
            engine_images,
        )

        images = engine_images.EngineImages(self.builder.engine_host)
        with build_container.BuildEngine(images, secrets).session() as engine:
            yield engine

    @contextlib.contextmanager
    def _folder(self, files: t.Sequence[FileInput], secrets: Secrets) -> t.Iterator[BuildFolder]:
        from ansible_collections.immutable.cutover.plugins.module_utils._image.run_build import (
            BuildFolder,
        )

        with (
            secrets_folder() as hidden,
            work_folder("bake-build-") as work,
        ):
            staged = os.path.join(work, "staged")
            os.makedirs(staged)
            os.chmod(staged, 0o755)
            stage_files(files, staged)
            yield BuildFolder(staged, work, stage_secrets(secrets, hidden))

    def build(
        self, start: Start, files: t.Sequence[FileInput], origins: t.Callable[[str], Start]
    ) -> Built:
        """Run what the recipe says on the image it begins with."""
        from ansible_collections.immutable.cutover.plugins.module_utils._image import (
            docker_build,
            docker_config,
            run_build,
        )

        recipe, docker = self.recipe, self.recipe.build.docker
        secrets = read_secrets(recipe.build.secrets, self.builder.secrets, recipe.tag)
        python = build_python(self.builder.store, self.run)
        with self._engine(secrets) as engine, self._folder(files, secrets) as folder:
            if docker is None:
                first = engine.load(self.layout, _plain(start.config), start.layers)
                image = run_build.run_build(engine, recipe, first, folder, python, self.epoch)
            else:
                first = engine.load(self.layout, start.config, start.layers)
                images = {docker.content.base: first}
                for reference in docker.content.origins:
                    if reference not in images:
                        other = origins(reference)
                        images[reference] = engine.load(self.layout, other.config, other.layers)
                inputs = docker_build.DockerInputs(
                    recipe.tag, docker, images, folder, python, self.epoch
                )
                image = docker_build.build_dockerfile(engine, inputs)
                before, after = engine.config(first), engine.config(image)
                recipe = docker_config.with_config(recipe, before, after)
            with engine.opened(image) as contents:
                layer = self._difference(contents, start, recipe.build.purpose)
        if layer is not None:
            refuse_secrets(secrets, layer.path, recipe.tag)
        return Built(recipe, layer)

    def _difference(self, contents: ImageContents, start: Start, purpose: str) -> Layer | None:
        count = len(start.layers)
        if contents.diff_ids[:count] != [layer.digest for layer in start.layers]:
            raise CutoverError(
                f"{self.recipe.tag}: the engine built on other layers than it was given"
            )
        from ansible_collections.immutable.cutover.plugins.module_utils._image.difference import (
            write_difference,
        )

        path = os.path.join(self.folder, f"{purpose}.tar")
        return write_difference(contents, count, path, self.epoch, _MOUNTPOINTS)

    def extract(self, start: Start, layer: Layer, purpose: str, by: str) -> Layer:
        """Return a written layer as it comes out of an engine, put into an image there by one backend or the other."""
        from ansible_collections.immutable.cutover.plugins.module_utils._image import (
            docker_build,
            run_build,
        )

        python = build_python(self.builder.store, self.run)
        with self._engine(Secrets()) as engine:
            first = engine.load(self.layout, _plain(start.config), start.layers)
            if by == "run":
                image = run_build.extract_layer(engine, first, layer.path, python, self.recipe.tag)
            else:
                image = docker_build.add_layer(engine, first, layer.path, self.recipe.tag)
            with engine.opened(image) as contents:
                found = self._difference(contents, start, f"{purpose}-by-{by}")
        if found is None:
            raise CutoverError(
                f"{self.recipe.tag}: the engine found nothing in the layer {purpose}"
            )
        return found


def _plain(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return a configuration with its environment alone: steps run as root, in the root folder."""
    described = config.get("config") or {}
    return {**config, "config": {"Env": described.get("Env") or []}}
