# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Orders that lose requests, as people write them: the positive controls of the claim.

Usage: naive.py ORDER JOB.json, with the job file of tools.bench.floor. Each is the floor script with one thing left
out, so that what it loses is lost by that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from tools.bench.floor import Floor, Job


class KillFirst(Floor):
    """Remove the old container, then start the new one; the load balancer finds out by itself."""

    def run(self) -> None:
        for old, name, body in self._job.pairs:
            self._client().remove_container(old, v=True, force=True)
            self._bring_up(name, body)
            self._forget(old)


class RegisterBeforeReady(Floor):
    """Give the new container traffic as soon as it is started; nobody checks it."""

    check = ""
    serving = "no check"

    def _await_ready(self, address: str, name: str) -> None:
        """Do not."""

    def _await_healthy(self, name: str) -> None:
        """Do not either."""


class NoDrain(Floor):
    """Stop the old container when the new one serves, whatever it is working on."""

    def _retire(self, name: str) -> None:
        self._client().remove_container(name, v=True, force=True)
        self._forget(name)


ORDERS: Mapping[str, type[Floor]] = {
    "kill_first": KillFirst,
    "register_before_ready": RegisterBeforeReady,
    "no_drain": NoDrain,
}


def main() -> int:
    """Replace what the job file names, in the order that is asked for."""
    with open(sys.argv[2], encoding="utf-8") as stream:
        data: dict[str, Any] = json.load(stream)
    job = Job(**{**data, "pairs": tuple(tuple(pair) for pair in data["pairs"])})
    ORDERS[sys.argv[1]](job).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
