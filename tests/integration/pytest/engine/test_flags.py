# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""CR-11: what people give ansible-playbook on the way is safe: it changes nothing, or does the whole thing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.pytest.engine.rollout_rig import PATHS, Rollouts
from tests.integration.pytest.haproxy_rig import Haproxy
from tools.sample import PLAYBOOK, ROOT, environment

OPTIONS = ("env", "network", "version", "image", "app", "processes", "load_balancers", "strategy")


class Site(Rollouts):
    """The same app, deployed by the playbook."""

    def play(
        self, spec: dict[str, Any], *options: str, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the playbook replace."""
        variables = {f"release_{key}": spec[key] for key in OPTIONS}
        variables |= {"release_state_dir": str(self.state)}
        command = [str(PLAYBOOK), "-i", str(ROOT / "inventories" / "local")]
        command += ["immutable.cutover.replace", "-e", json.dumps(variables), *options]
        return subprocess.run(
            command, cwd=ROOT, env=environment() | env, capture_output=True, text=True, check=False
        )

    def all(self) -> tuple[object, ...]:
        """Return everything that a run could change."""
        files = {
            path: path.read_bytes()
            for path in sorted(self.state.rglob("*"))
            if path.is_file() and path.name != "lock"
        }
        targets = self.haproxy.driver().targets()
        shown = [(item.name, item.address, item.admin) for item in targets]
        return files, shown, self.haproxy.config.read_bytes()


@pytest.fixture
def site(
    engine: Any, run_id: str, image: str, network: str, secrets_dir: Path, tmp_path: Path
) -> Iterator[Site]:
    secrets_dir.mkdir(mode=0o700)
    haproxy = Haproxy(tmp_path, more=PATHS)
    haproxy.start()
    made = Site(run_id, image, network, secrets_dir, haproxy)
    made.deploy(made.spec("1"))
    yield made
    haproxy.kill()


@pytest.mark.parametrize(
    "options",
    [("--check", "--diff"), ("--limit", "elsewhere"), ("--list-tasks",), ("--syntax-check",)],
    ids=lambda options: options[0].strip("-"),
)
def test_cr_11_what_only_looks_changes_nothing(site: Site, options: tuple[str, ...]) -> None:
    before = site.all()
    done = site.play(site.spec("2"), *options)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert site.all() == before, done.stdout
    assert site.versions(site.spec("2")) == [("1", "serving")] * 2
    if options[0] == "--check":
        assert "start" in done.stdout and "destroy" in done.stdout, done.stdout


def test_cr_11_starting_in_the_middle_is_the_whole_thing_or_nothing(site: Site) -> None:
    """The task that applies validates and plans by itself; those before it only show."""
    done = site.play(site.spec("2"), "--start-at-task", "Apply the release")
    now = site.versions(site.spec("2"))
    if done.returncode == 0:
        assert now in ([("1", "serving")] * 2, [("2", "serving")] * 2), done.stdout
    else:
        assert now == [("1", "serving")] * 2, done.stdout
    assert site.play(site.spec("2")).returncode == 0
    assert site.versions(site.spec("2")) == [("2", "serving")] * 2


def test_cr_11_the_strategy_free_deploys_as_well(site: Site) -> None:
    done = site.play(site.spec("2"), ANSIBLE_STRATEGY="free")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.versions(site.spec("2")) == [("2", "serving")] * 2
    again = site.play(site.spec("2"), ANSIBLE_STRATEGY="free")
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
