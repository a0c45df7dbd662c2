# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a canary can be run on a site, asked before anything changes; private, no stability promised."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Capabilities,
)
from ansible_collections.immutable.cutover.plugins.module_utils._probe.source import JsonSource
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import Analysis
from ansible_collections.immutable.cutover.plugins.module_utils._release.strategy import Strategy


def check_canary(strategy: Strategy, balancers: Iterable[tuple[str, Capabilities]]) -> None:
    """Refuse a canary whose shares or conditions could not be what the spec says."""
    if strategy.type != "canary":
        return
    for where, can in balancers:
        if not can.weight or not can.shares:
            found = f"balances by {can.balance}" if can.balance else "does not say how it balances"
            raise InvalidInput(
                "strategy.type",
                strategy.type,
                "needs a load balancer that gives each target a share by its weight, such as "
                f"HAProxy with balance roundrobin; {where} {found}",
            )
        if strategy.steps[0].weight == 0 and not can.preview:
            raise InvalidInput(
                "strategy.steps[0].weight",
                0,
                f"needs a load balancer of which requests can ask for the new release (preview); {where} has none",
            )
    _source(strategy.analysis, "strategy.analysis")
    for number, step in enumerate(strategy.steps):
        if step.analysis is not None:
            _source(step.analysis, f"strategy.steps[{number}].analysis")


def _source(asked: Analysis, option: str) -> None:
    if asked.url:
        JsonSource(asked.url, asked.success_condition, asked.failure_condition, option)
