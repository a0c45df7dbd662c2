# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small images that really run, baked into a folder, and what the modules are called with."""

from __future__ import annotations

import os
import pathlib
import typing as t

import docker

from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    pull_front,
    push_front,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.push import (
    Push,
    PushOptions,
    PushResult,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    registry_options,
)
from tests.unit.plugins.module_utils._image.conftest import (
    APP_RECIPE,
    World,
    add_base,
    add_wheel,
)

HOST = "unix:///var/run/docker.sock"
OWN = f"icreg{os.getpid()}"
"""Files of tests run side by side, on one engine."""
BASE, APP = f"{OWN}/base", f"{OWN}/shop"
Result = dict[str, t.Any]


class Kitchen(World):
    """A folder with a baked app on a baked base, under names of these tests."""

    def write_recipe(self, version: str = "1.0.0") -> None:
        """Write the recipe and a lock that matches it."""
        text = APP_RECIPE % {"version": version, "base": self.base.reference}
        pathlib.Path(self.recipe).write_text(text.replace("shop/web", APP))
        self.write_lock()

    def write_app(self, text: str, version: str = "1.0.0") -> BakeRecord:
        """Bake the app with this content."""
        (self.root / "shop/src/app.py").write_text(text)
        self.write_recipe(version)
        record = self.bake().record
        assert record is not None
        return record

    @property
    def output(self) -> Output:
        """Return the folder with everything baked."""
        return Output(str(self.root / "output"))

    @property
    def state_dir(self) -> pathlib.Path:
        """Return the state of the host."""
        return self.root / "state"

    def push(self, registry: Result, check: bool = False, **changes: t.Any) -> Result:
        """Push as the module does."""
        params = {
            "recipes": [self.recipe],
            "output": str(self.root / "output"),
            "registry": registry,
            "repository_prefix": "team",
            "tags": True,
            "compression": "none",
            "concurrency": 2,
        }
        return push_front.push_images({**params, **changes}, check)

    def push_base(self, registry: Result, gzip: bool = False) -> PushResult:
        """Push the base, which has no lock to be compared with."""
        options = PushOptions(prefix="team", gzip=gzip)
        place = Registry(registry_options(registry))
        return Push(self.base, self.output, place, options).ensure()

    def pull(self, registry: Result, *images: str, check: bool = False, **changes: t.Any) -> Result:
        """Pull as the module does."""
        params = {
            "images": list(images),
            "registry": registry,
            "repository_prefix": "team",
            "load": True,
            "output": "",
            "state_dir": str(self.state_dir),
            "engine": {},
            "concurrency": 2,
        }
        return pull_front.pull_images({**params, **changes}, check)


def make_kitchen(root: pathlib.Path) -> Kitchen:
    """Bake base and app from nothing; the base's shell is a real one, and no other run's layer."""
    program = pathlib.Path("/bin/busybox").read_bytes() + OWN.encode()
    made = Kitchen(root, add_base(root, name=BASE, program=program), add_wheel(root))
    (root / "shop/src").mkdir(parents=True)
    (root / "shop/requirements.in").write_text("pkg\n")
    made.write_app("first\n")
    return made


def remove_images(engine: docker.DockerClient) -> None:
    """Remove what these tests left on the engine."""
    for name in (APP, BASE):
        for image in engine.images.list(name):
            engine.images.remove(image.id, force=True)
