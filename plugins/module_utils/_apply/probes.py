# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a process type to the probe that finds its replicas ready; private, no stability promised."""

from __future__ import annotations

from ansible_collections.immutable.cutover.plugins.module_utils._probe.http import HttpProbe
from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    ProcessSpec,
)


def readiness_probe(process: ProcessSpec) -> HttpProbe:
    """Return the probe, or raise InvalidInput for an expression that could never pass."""
    readiness = process.readiness
    return HttpProbe(
        path=readiness.path,
        status=readiness.status,
        expect=readiness.expect,
        port=process.port,
        option=f"processes.{process.name}.readiness",
    )
