# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""The options of a spec that are about several hosts."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.fleet import Fleet
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import (
    is_replica_name,
    replica_name,
    scope,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    parse_spec,
    release_id,
    to_mapping,
)
from ansible_collections.immutable.cutover.tests.unit.support.shop import IMAGE_ID, mapping

FLEET = {
    "member": "b1",
    "address": "10.1.2.3",
    "ports": "21000-21099",
    "min_serving": 3,
    "wait": 90,
}
APART: list[dict[str, Any]] = [{"backend": "shop", "host": "lb1"}]


def test_a_spec_of_several_hosts_is_read_and_read_back() -> None:
    spec = parse_spec(mapping(fleet=FLEET, load_balancers=APART))
    assert spec.fleet == Fleet("b1", "10.1.2.3", (21000, 21099), 3, 90)
    assert (spec.scope, spec.balancer_hosts) == ("shop.at.b1", ("lb1",))
    assert parse_spec(to_mapping(spec)) == spec
    alone = parse_spec(mapping())
    assert (alone.scope, alone.balancer_hosts, alone.fleet) == ("shop", (), Fleet())


def test_where_a_release_runs_is_no_part_of_what_it_is() -> None:
    here, there = parse_spec(mapping(fleet=FLEET, load_balancers=APART)), parse_spec(mapping())
    assert release_id(here, IMAGE_ID) == release_id(there, IMAGE_ID)


def test_the_replicas_of_two_hosts_have_different_names() -> None:
    name = replica_name(scope("shop", "b1"), "web", "0123abcd", 1)
    assert name == "shop.at.b1-web-0123abcd-1"
    assert is_replica_name(name, scope("shop", "b1"), "web")
    assert not is_replica_name(name, scope("shop", "b2"), "web")
    assert not is_replica_name(name, scope("shop", ""), "web")


# (id, fleet, load balancers, more, path in the message, what is allowed)
REFUSED: list[tuple[str, object, object, dict[str, Any], str, str]] = [
    ("B05", {"membr": "b1"}, None, {}, "fleet.membr", "did you mean member?"),
    ("B03", ["b1"], None, {}, "fleet", "must be a mapping"),
    ("B07-member", {"member": "b 1"}, None, {}, "fleet.member", "must match"),
    ("B07-member-at", {"member": "b.at.c"}, None, {}, "fleet.member", "must not have '.at.' in it"),
    ("B07-app-at", None, None, {"app": "shop.at.b1"}, "app", "must not have '.at.' in it"),
    ("B08-together", {"member": "b" * 45}, None, {}, "processes.web", "together must not be longer"),
    ("address-name", {"address": "b1.example"}, None, {}, "fleet.address", "must be an IPv4 address"),
    ("address-any", {"address": "0.0.0.0"}, None, {}, "fleet.address", "must be an IPv4 address"),
    ("B12-ports", {"ports": "80-90"}, None, {}, "fleet.ports", "must be a range of ports"),
    ("B12-ports-low", {"ports": "1000-1010"}, None, {}, "fleet.ports", "within 1024-65535"),
    ("B12-ports-back", {"ports": "2000-1999"}, None, {}, "fleet.ports", "within 1024-65535"),
    ("min-serving", {"min_serving": "3"}, None, {}, "fleet.min_serving", "must be an integer 0-10000"),
    ("B21-wait", {"wait": 0}, None, {}, "fleet.wait", "must be a duration in whole seconds"),
    ("B56", {"member": "b1"}, [{"backend": "shop", "host": ""}], {}, "load_balancers[0].host", "must be the inventory name"),
    ("B56-mixed", {"member": "b1"}, [*APART, {"backend": "other"}], {}, "load_balancers[1].host", "is required, because"),
    ("no-member", None, APART, {}, "fleet.member", "is required with load_balancers[0].host"),
    ("force", FLEET, APART, {"processes": {"web": {"port": 1, "drain": {"on_timeout": "force"}}}}, "processes.*.drain.on_timeout", "must be fail"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fleet", "balancers", "more", "path", "allowed"),
    [pytest.param(*row[1:], id=row[0]) for row in REFUSED],
)
def test_what_is_refused(
    fleet: object, balancers: object, more: dict[str, Any], path: str, allowed: str
) -> None:
    options = {"fleet": fleet, **({"load_balancers": balancers} if balancers else {}), **more}
    with pytest.raises(InvalidInput) as caught:
        parse_spec(mapping(**options))
    assert caught.value.message.startswith(f"{path}: ")
    assert allowed in caught.value.message
