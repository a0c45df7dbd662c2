# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The module `lease` by Ansible, as in its examples: checked, taken, taken again, and given back. Needs no engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.modules.lease import EXAMPLES

ROOT = Path(__file__).resolve().parents[3]
MODULE = "immutable.cutover.lease"


class Host:
    """This machine, with a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"

    def run(self, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run the module once and return what it says."""
        program = Path(sys.executable).parent / "ansible"
        arguments = json.dumps({"state_dir": str(self.state), **options})
        command = [str(program), "all", "-i", "localhost,", "-c", "local", "-m", MODULE]
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            [*command, "-a", arguments, *(["--check"] if check else [])],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        head, _arrow, answer = done.stdout.partition("=> ")
        assert answer, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(answer)
        return {**found, "failed": done.returncode != 0, "head": head}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_examples_take_the_lease_and_give_it_back(host: Host) -> None:
    taking, giving = (task[MODULE] for task in yaml.safe_load(EXAMPLES))
    for options, changed, verb in ((taking, True, "acquired"), (giving, True, "released")):
        checked = host.run(check=True, **options)
        real = host.run(**options)
        assert (real["failed"], real["changed"], real["epoch"]) == (False, changed, 1), real
        assert real["actions"] == [f"{verb} epoch 1"]
        kept = ("changed", "epoch", "before", "after", "actions")
        assert {key: checked[key] for key in kept} == {key: real[key] for key in kept}
        for again in (host.run(check=True, **options), host.run(**options)):
            assert (again["changed"], again["actions"]) == (False, []), again
    assert real["after"]["holder"] is None


def test_b67_another_run_is_told_who_has_it(host: Host) -> None:
    host.run(app="shop", run="database-move-17", user="eve")
    refused = host.run(app="shop", run="other")
    assert refused["failed"], refused
    assert "shop: lease held by eve, run database-move-17" in refused["msg"]


def test_b21_a_lease_that_is_over_at_once_is_refused(host: Host) -> None:
    refused = host.run(app="shop", run="mine", ttl=0)
    assert refused["failed"], refused
    assert refused["msg"] == "ttl: must be a duration in whole seconds, 5-86400, found 0"
    assert not host.state.exists()
