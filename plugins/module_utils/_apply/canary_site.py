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
from ansible_collections.immutable.cutover.plugins.module_utils._release import weights
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import Analysis
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import AppSpec
from ansible_collections.immutable.cutover.plugins.module_utils._release.strategy import (
    canary_replicas,
)

OFF = 2.0
"""How many percentage points a share may be off what the spec says, where targets of other hosts are beside it."""


def check_canary(spec: AppSpec, balancers: Iterable[tuple[str, Capabilities]]) -> None:
    """Refuse a canary whose shares or conditions could not be what the spec says."""
    strategy = spec.strategy
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
    if spec.balancer_hosts:
        _refuse_more_than_it_can_take(spec)
    _source(strategy.analysis, "strategy.analysis")
    for number, step in enumerate(strategy.steps):
        if step.analysis is not None:
            _source(step.analysis, f"strategy.steps[{number}].analysis")


def _refuse_more_than_it_can_take(spec: AppSpec) -> None:
    """A target's weight has an upper end, and other hosts' targets do not weigh less for a canary of this one."""
    balanced = {ref.process for ref in spec.load_balancers}
    for process in (process for process in spec.processes if process.name in balanced):
        count = canary_replicas(spec.strategy, process.replicas)
        for number, step in enumerate(spec.strategy.steps):
            if step.kind != "weight" or not step.weight or not process.replicas:
                continue
            old, new = weights.shares(step.weight, process.replicas, count, weights.FLEET)
            share = 100 * count * new / (count * new + process.replicas * old)
            if share < step.weight - OFF:
                raise InvalidInput(
                    f"strategy.steps[{number}].weight",
                    step.weight,
                    f"needs more than {count} canary replicas beside {process.replicas} of {process.name}: behind a"
                    f" load balancer shared with other hosts they can get {share:.0f} percent; set strategy.replicas",
                )


def _source(asked: Analysis, option: str) -> None:
    if asked.url:
        JsonSource(asked.url, asked.success_condition, asked.failure_condition, option)
