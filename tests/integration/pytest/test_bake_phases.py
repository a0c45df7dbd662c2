# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook bake, one phase at a time as by hand or in jobs apart: each finds what the ones before it left."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import attachments
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    registry_options,
)
from tests.integration.pytest.local_archive import WheelIndex
from tests.integration.pytest.registry_rig import RegistryRig
from tests.unit.plugins.module_utils._image.conftest import add_base
from tests.unit.support.keys import write_key
from tools.sample import PLAYBOOK, ROOT, environment

APP = "icphase/app"
RECIPE = """
bake: 1
kind: app
name: %s
version: 1.0.0
base: %s
python: {requirements: requirements.in}
files: [{src: app.py, dest: /app/}]
config: {user: "10001"}
"""


class Shop:
    """An app whose wheel comes from an index of the test's own, and the playbook that bakes it."""

    def __init__(self, root: pathlib.Path, registry: RegistryRig) -> None:
        self.root, self.registry = root, registry
        self.output = Output(str(root / "output"))
        base = add_base(root, name="icphase/base")
        # Its lock shall name no package: the policy looks for what is locked.
        self.output.keep_lock(base, Lock("sha256:" + "6" * 64, base.epoch, base.arch))
        self.recipe = root / "app/bake.yml"
        self.recipe.parent.mkdir()
        self.recipe.write_text(RECIPE % (APP, base.reference))
        (root / "app/requirements.in").write_text("aa\n")
        (root / "app/app.py").write_text("print('an app')\n")
        write_key(root / "key.pem")

    def play(self, *words: str, index: str = "http://127.0.0.1:1/nothing/") -> int:
        """Run the playbook; return how many tasks changed something."""
        variables = {
            "cutover_hosts": "local",
            "bake_recipes": [str(self.recipe)],
            "bake_output": str(self.output.root),
            "bake_store": str(self.root / "store"),
            "bake_state_dir": str(self.root / "state"),
            "bake_key": str(self.root / "key.pem"),
            "bake_registry": self.registry.options(),
            "bake_push_inputs": True,
            "bake_load": False,
            "bake_install_packages": False,
        }
        command = [str(PLAYBOOK), "-i", str(ROOT / "inventories/local"), "immutable.cutover.bake"]
        index_variables = {"UV_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
        done = subprocess.run(
            [*command, "-e", json.dumps(variables), *words],
            cwd=ROOT,
            env={
                **environment(),
                **index_variables,
                "NO_PROXY": "127.0.0.1",
                "no_proxy": "127.0.0.1",
                "UV_CACHE_DIR": str(self.root / "uv"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        changed = re.search(r" changed=([0-9]+) ", done.stdout)
        assert changed is not None, done.stdout
        return int(changed[1])

    def left(self) -> set[str]:
        """Return which phases have left what they are there for."""
        record = self.output.find(APP, "1.0.0")
        found = {
            "lock": self.recipe.with_suffix(".lock").exists(),
            "fetch": any((self.root / "store/sha256").glob("*")),
            "bake": record is not None,
            "attest": record is not None and len(attachments(self.output, record)) == 4,
            "push": record is not None and self.pushed(record),
        }
        return {phase for phase, there in found.items() if there}

    def pushed(self, record: BakeRecord) -> bool:
        """Tell whether the registry has the image under the digest that was baked, and all that refers to it."""
        registry = Registry(registry_options(self.registry.options()))
        digest = record.manifest_digest
        if registry.head_manifest(APP, digest) is None:
            return False
        # The four documents, and what it was baked from.
        return len(registry.referrers(APP, digest)) == 5


@pytest.fixture
def shop(tmp_path: pathlib.Path) -> t.Iterator[Shop]:
    """Return an app that nothing was done for yet, and an empty registry."""
    registry = RegistryRig(tmp_path / "registry")
    registry.start()
    yield Shop(tmp_path, registry)
    registry.stop()


def test_every_phase_runs_alone_and_leaves_what_the_next_one_needs(shop: Shop) -> None:
    index = WheelIndex(shop.root / "index")
    index.put("aa", "1.0")
    done: set[str] = set()
    with index.serve() as address:
        for phase in ("lock", "fetch"):
            shop.play("--tags", phase, index=address)
            done.add(phase)
            assert shop.left() == done
    for phase in ("bake", "check", "attest", "push"):
        shop.play("--tags", phase)
        done |= {phase} - {"check"}
        assert shop.left() == done, phase
    assert shop.play() == 0, "and all of them together find nothing to do"
