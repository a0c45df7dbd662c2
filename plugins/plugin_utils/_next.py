# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed run has left and what a person does next; pure, private, no stability promised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COMES_UP = ("start", "ready", "warm", "register", "check", "activate", "confirm")
_LONGEST = 200
LOST = (
    "the host cannot be reached any more: what works there goes on until its call is over, nothing is rolled back. "
    "Next: the playbook status when the host answers, then the same playbook again"
)
"""What is told where the connection, and with it every answer of the host, was lost."""


def lost_balancer(host: str, why: object) -> str:
    """Return what is told where the connection to a load balancer's host was lost: the run ends without it."""
    return (
        f"host {host} of a load balancer cannot be reached any more ({why}): what works there goes on until its call "
        "is over. Nothing is rolled back, no replica was taken away that it may still know, the lease is given back. "
        "Next: the same playbook again when it answers"
    )


def log_end(result: Mapping[str, Any]) -> str:
    """Return the last line that the failed replica logged, for the message."""
    log = (result.get("error_details") or {}).get("log") or []
    last = next((str(line).strip() for line in reversed(log) if str(line).strip()), "")
    return f"; its log ends with: {last[:_LONGEST]}" if last else ""


def what_next(result: Mapping[str, Any]) -> str:
    """Return what is left and what to do now; empty where the message says so itself."""
    verb = (result.get("failed_step") or {}).get("verb", "")
    if "rolled_back" in result:
        return "see error_details and the playbook history" if result["rolled_back"] else ""
    if "fenced: " in str(result.get("msg")):
        return "the playbook status shows who deploys now"
    if (result.get("error_details") or {}).get("kind") == "drain_timeout":
        return (
            "the new replicas serve, what is busy goes on draining and running; run the same playbook again to wait "
            "on, or set drain.on_timeout to force"
        )
    if verb in _COMES_UP:
        return "what came up is left as it is; run replace again to go on, or recover to go back"
    return "what was done stays; run the same playbook again to go on" if verb else ""
