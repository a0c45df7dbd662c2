# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""RO-17: the disk of an engine has no room for an image. The engine is one of the test's own, on a small tmpfs."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._disk import RESERVE
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker import DockerEngine
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError
from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
    EngineImages,
)
from tests.integration.pytest.registry_world import APP, Kitchen, make_kitchen

SMALL, LARGE = RESERVE - (16 << 20), RESERVE + (64 << 20)


class Engine:
    """A dockerd whose data lies on a file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.host = f"unix://{folder}/docker.sock"
        self.data.mkdir(parents=True)
        self._mount(f"size={SMALL}")
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--host={self.host}",
                    f"--data-root={self.data}",
                    f"--exec-root={folder}/exec",
                    f"--pidfile={folder}/pid",
                    *("--bridge=none", "--iptables=false", "--ip6tables=false"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.data)], check=True)

    def grow(self) -> None:
        """Give its disk more room."""
        self._mount(f"remount,size={LARGE}")

    def wait(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                DockerEngine(self.host).version()
            except EngineError:
                log = (self.folder / "log").read_text(errors="replace")
                assert self._process.poll() is None and time.monotonic() < deadline, log
                time.sleep(0.2)
            else:
                return

    def end(self) -> None:
        """Leave nothing of it."""
        self._process.terminate()
        self._process.wait(60)
        subprocess.run(["umount", "-R", str(self.data)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    # The path of a socket must be short.
    made = Engine(Path(tmp_path_factory.mktemp("disk")))
    try:
        made.wait()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    return make_kitchen(tmp_path_factory.mktemp("kitchen"))


def test_ro_17_an_image_without_room_is_refused_before_it_is_loaded(
    engine: Engine, kitchen: Kitchen
) -> None:
    record = kitchen.output.find(APP, "1.0.0")
    assert record is not None
    images = EngineImages(engine.host)
    found = DockerEngine(engine.host).space()
    assert found is not None and found.path == str(engine.data) and found.free < SMALL
    with pytest.raises(EngineError) as caught:
        images.load(kitchen.output.layout, record)
    assert caught.value.details["kind"] == "disk_full"
    assert caught.value.message.startswith(f"{engine.data}: ")
    assert f" MB free, image {record.tag} needs " in caught.value.message
    assert "; nothing was changed" in caught.value.message
    assert images.client.images(all=True) == []
    engine.grow()
    assert images.load(kitchen.output.layout, record) == 3
    assert images.has(record.image_id)
