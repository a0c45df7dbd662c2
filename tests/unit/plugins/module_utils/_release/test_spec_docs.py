# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation says of the spec is what the parser takes: every key, in the role and in the modules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.doc_fragments._release import ModuleDocFragment
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.factory import (
    LOAD_BALANCER_SPEC,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec
from ansible_collections.immutable.cutover.tests.unit.support.shop import mapping

ROLE = Path(__file__).resolve().parents[5] / "roles" / "release"
# Every mapping of which a spec may have one, so that the parser asks for the keys of each.
WHOLE = mapping(
    processes={
        "web": {
            "port": 8080,
            "drain": {"long_lived": {"timeout": 5}},
            "warm_up": {"requests": ["/"]},
        }
    },
    strategy={"type": "canary", "steps": [{"weight": 20}, {"pause": 1}, {"analysis": {}}]},
    tasks={"migrate": {"command": ["migrate"]}},
    secrets={"TOKEN": {"sha256": "0" * 64, "source": "/run/token"}},
)
# The role fills these in.
OF_THE_ROLE = {"secrets": {"sha256", "source"}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The keys that the parser asks for, by the key of the spec they are below; those of the spec itself by none."""
    found: dict[str, set[str]] = {}
    finish = Fields.finish

    def note(fields: Fields) -> None:
        top = re.split(r"[.\[]", fields.path("x"))[0] if fields.path("x") != "x" else ""
        found.setdefault(top, set()).update(fields._known)
        finish(fields)

    monkeypatch.setattr(Fields, "finish", note)
    parse_spec(WHOLE)
    return found


def words(description: str | list[str]) -> set[str]:
    """Return what a text marks as code, and the last part of a dotted path too."""
    text = description if isinstance(description, str) else " ".join(description)
    marked = re.findall(r"C\(([a-z0-9_.]+)\)", text)
    return {*marked, *(word.rpartition(".")[2] for word in marked)}


def role_options() -> Any:
    text = (ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["argument_specs"]["main"]["options"]


def test_the_modules_name_every_key_of_the_spec(asked: dict[str, set[str]]) -> None:
    options = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    (listed,) = [line for line in options["spec"]["description"] if line.startswith("Its keys are")]
    assert words(listed[: listed.index(". The role")]) == asked[""]


def test_the_role_has_a_variable_for_every_key_of_the_spec(asked: dict[str, set[str]]) -> None:
    made = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))[
        "__release_spec"
    ]
    assert set(made) == asked[""]
    assert {f"release_{key}" for key in asked[""]} <= set(role_options())


def test_the_role_names_every_key_below_them(asked: dict[str, set[str]]) -> None:
    options = role_options()
    below = {top: keys - OF_THE_ROLE.get(top, set()) for top, keys in asked.items() if top}
    assert {"processes", "strategy", "fleet", "tasks", "secrets"} <= set(below)
    missing = {
        top: keys - words(options[f"release_{top}"]["description"]) for top, keys in below.items()
    }
    # A task's resources are those of a process.
    missing["tasks"] -= {"memory", "cpus", "pids"}
    assert {top: keys for top, keys in missing.items() if keys} == {}


def test_the_role_names_every_option_of_a_load_balancer() -> None:
    said = words(role_options()["release_load_balancers"]["description"])
    assert set(LOAD_BALANCER_SPEC) - said == set()
