# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share, and how their results and failures look; private, no stability promised."""

from __future__ import annotations

from typing import Any

from ansible_collections.immutable.cutover.plugins.module_utils._engine.factory import ENGINE_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._state import DEFAULT_STATE_DIR

STATE_DIR_SPEC: dict[str, dict[str, Any]] = {
    "state_dir": {"type": "path", "default": DEFAULT_STATE_DIR},
}
HOST_SPEC: dict[str, dict[str, Any]] = {
    **STATE_DIR_SPEC,
    "engine": {"type": "dict", "options": ENGINE_SPEC, "default": {}},
}
RELEASE_SPEC: dict[str, dict[str, Any]] = {
    **HOST_SPEC,
    "spec": {"type": "dict", "required": True},
    "to": {"type": "str", "default": ""},
    "approved": {"type": "str", "default": ""},
    "rollback_unsafe": {"type": "bool", "default": False},
}
TURN_SPEC: dict[str, dict[str, Any]] = {
    "holder": {"type": "dict", "default": {}},
    "ttl": {"type": "int", "default": 60},
    "seconds": {"type": "float", "default": 10},
    "take_over": {"type": "int", "default": 0},
    "epoch": {"type": "int", "default": 0},
    "undo_follows": {"type": "bool", "default": False},
    "retires": {"type": "str", "default": ""},
    "undoes": {"type": "str", "default": ""},
    "waits": {"type": "float", "default": 0},
    "gone": {"type": "list", "elements": "str", "default": []},
    "plan": {"type": "bool", "default": False},
    "ended": {"type": "dict", "default": {}},
    "resume": {"type": "dict", "default": {}},
}
LEASE_WAIT_SPEC: dict[str, dict[str, Any]] = {
    "wait": {"type": "int", "default": 900},
    "ttl": {"type": "int", "default": 60},
}
PLAN_SPEC: dict[str, dict[str, Any]] = {
    **RELEASE_SPEC,
    "lease": {"type": "dict", "options": LEASE_WAIT_SPEC, "default": {}},
}
APPLY_SPEC: dict[str, dict[str, Any]] = {
    **PLAN_SPEC,
    "turn": {"type": "dict", "options": TURN_SPEC, "default": {}},
}
TASK_RUN_SPEC: dict[str, dict[str, Any]] = {
    **HOST_SPEC,
    "spec": RELEASE_SPEC["spec"],
    "when": {"type": "str", "default": "", "choices": ["", "before_traffic", "after"]},
    "command": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "int", "default": 300},
    "lease": APPLY_SPEC["lease"],
    "turn": APPLY_SPEC["turn"],
}
PART_SPEC: dict[str, dict[str, Any]] = {
    **APPLY_SPEC,
    "host": {"type": "str", "default": ""},
    "run": {"type": "dict", "default": {}},
    "part": {"type": "dict", "default": {}},
}


def failure(error: CutoverError) -> dict[str, Any]:
    """Return what C(fail_json) takes: the message and every detail."""
    return {**error.details, "msg": error.message}
