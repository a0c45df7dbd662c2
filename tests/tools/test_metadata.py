# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Lists that nothing else would keep in step with the tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = {path.stem for path in (ROOT / "plugins" / "modules").glob("[!_]*.py")}


def test_the_action_group_all_names_every_module() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    assert groups["all"] == sorted(MODULES)
    assert set(groups["cutover"]) <= MODULES


def test_locks_carry_hashes_and_no_registry() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text()
        assert "://" not in text, lock
        assert "--index-url" not in text, lock
        pinned = re.findall(r"^[a-z0-9].*$", text, re.MULTILINE)
        assert pinned, lock
        for line in pinned:
            assert re.fullmatch(r"[a-z0-9.\[\]-]+==\S+ \\", line), f"{lock}: {line}"


def test_every_dependency_asked_for_is_locked() -> None:
    for source in sorted((ROOT / "requirements").glob("*.in")):
        locked = source.with_suffix(".txt").read_text()
        for line in source.read_text().splitlines():
            name = re.match(r"[A-Za-z0-9-]+", line)
            if name is not None and not line.startswith("-"):
                assert f"\n{name.group(0).lower()}==" in locked, f"{source}: {line}"


def test_scenarios_that_run_side_by_side_share_no_port() -> None:
    molecule = ROOT / "molecule"
    shared = molecule / "common" / "inventory" / "group_vars" / "all.yml"
    ports = yaml.safe_load(shared.read_text())["mol_ports"]
    assert len(set(ports.values())) == len(ports) > 1
    for path in molecule.rglob("*.yml"):
        assert not re.search(r"127\.0\.0\.1:\d{5}", path.read_text()), (
            f"{path} names a port of its own"
        )


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a file of tasks or plays."""
    if isinstance(node, dict):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from tasks(item)


def test_no_package_starts_a_service_when_it_is_installed() -> None:
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("tools/plays/*.yml")]
    files += [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("molecule/**/*.yml")]
    found = {
        f"{path.relative_to(ROOT)}: {task['name']}": task["ansible.builtin.apt"].get("policy_rc_d")
        for path in files
        for task in tasks(yaml.safe_load(path.read_text()))
        if "ansible.builtin.apt" in task
    }
    assert found
    assert set(found.values()) == {101}, found


def test_the_built_collection_leaves_no_development_file_unlisted() -> None:
    shipped = {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "changelogs",
        "docs",
        "examples",
        "galaxy.yml",
    }
    shipped |= {"meta", "playbooks", "plugins", "roles"}
    ignored = set(yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"])
    found = {path.name for path in ROOT.iterdir()} - {".git"}
    assert found <= shipped | ignored
