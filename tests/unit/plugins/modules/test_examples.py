# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example of a module's documentation is one that the module takes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import RequiredError, UnsupportedError

PREFIX = "immutable.cutover."
MODULES = Path(__file__).resolve().parents[4] / "plugins" / "modules"
NAMES = sorted(path.stem for path in MODULES.glob("[!_]*.py"))


def module(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.immutable.cutover.plugins.modules.{name}")


def tasks(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the tasks of a list of tasks or plays, those in blocks too."""
    for item in items:
        parts = ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always")
        inner = [part for part in parts if part in item]
        for part in inner:
            yield from tasks(item[part])
        if not inner:
            yield item


def calls(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what the examples of a module give to the collection's modules."""
    return [
        (key.removeprefix(PREFIX), value or {})
        for task in tasks(yaml.safe_load(module(name).EXAMPLES))
        for key, value in task.items()
        if key.startswith(PREFIX)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_are_taken(name: str) -> None:
    found = calls(name)
    assert name in [called for called, _options in found]
    for called, options in found:
        options = {"spec": {}, **options} if "{{" in str(options.get("spec")) else options
        errors = ArgumentSpecValidator(module(called).load()[0]).validate(options).errors
        told = [
            error.msg
            for error in errors.errors
            # What a variable is, nobody knows here.
            if "{{" not in json.dumps(options)
            or isinstance(error, (RequiredError, UnsupportedError))
        ]
        assert told == [], f"{called}: {options}"
