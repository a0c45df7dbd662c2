# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as the release modules meet it: parameters in, results out, drivers in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import connect, front
from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Image
from ansible_collections.immutable.cutover.plugins.module_utils._engine.memory import MemoryEngine
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.memory import (
    MemoryLoadBalancer,
)
from ansible_collections.immutable.cutover.tests.unit.support.rig import Rig
from ansible_collections.immutable.cutover.tests.unit.support.shop import IMAGE_ID, mapping

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def image(image_id: str, **options: Any) -> Image:
    """Return an image that can be deployed."""
    fields = {"labels": {}, "tags": (), "user": "1000", "architecture": MACHINE, **options}
    return Image(image_id, **fields)


class Host:
    """Calls the front as the modules do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *images: Image) -> None:
        self.rig = Rig(folder)
        self.engine = MemoryEngine(*images, address=lambda _spec, _number: "127.0.0.1")
        self.rig.engine = self.engine
        self.balancer = self.rig.drivers[0]
        self.state_dir = folder
        monkeypatch.setattr(connect.factory, "connect", self._connect)
        monkeypatch.setattr(front.factory, "connect", lambda _options: self.engine)

    def _connect(self, options: Mapping[str, Any], _clock: Clock) -> MemoryLoadBalancer:
        assert options["socket"] == "/run/haproxy/admin.sock"
        return self.balancer

    def spec(self, version: str, image_id: str = IMAGE_ID, **options: Any) -> dict[str, Any]:
        """Return a spec whose replicas answer; C(web) are options of the process."""
        web = {"port": self.rig.port, "readiness": {"successes": 1, "timeout": 60}}
        web.update(options.pop("web", {}))
        return mapping(version=version, image=f"shop@{image_id}", processes={"web": web}, **options)

    def params(self, spec: Any, to: str = "", **turn: Any) -> dict[str, Any]:
        """Return the parameters of one call."""
        defaults = {
            "holder": {"run": "run-1", "user": "eve"},
            "ttl": 60,
            "seconds": 30,
            "take_over": 0,
            "epoch": 0,
            "undo_follows": False,
            "resume": {},
            "retires": "",
        }
        return {
            "spec": spec,
            "to": to,
            "state_dir": str(self.state_dir),
            "engine": {},
            "turn": {**defaults, **turn},
        }

    def plan(self, spec: Any, to: str = "") -> dict[str, Any]:
        """Plan."""
        return front.plan_release(self.params(spec, to))

    def apply(self, spec: Any, to: str = "", **turn: Any) -> dict[str, Any]:
        """Apply, one call."""
        return front.apply_release(self.params(spec, to, **turn))

    def serving(self) -> list[tuple[str, str]]:
        """Return state and image of what runs."""
        images = {item.name: item.image_id for item in self.engine.containers({})}
        return [(phase, images[name]) for name, phase in self.rig.phases().items()]

    def traces(self) -> tuple[object, ...]:
        """Return all that a refused call must leave as it was."""
        files = {path: path.read_bytes() for path in self.state_dir.rglob("*") if path.is_file()}
        return files, list(self.engine.calls), self.balancer.targets()

    def rig_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the journal."""
        return Journal(str(self.state_dir), "shop").read()

    @staticmethod
    def wait(seconds: float) -> None:
        """Let time pass on the machine's clock, which the front uses."""
        time.sleep(seconds)
