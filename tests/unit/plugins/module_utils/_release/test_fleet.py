# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""The options of a spec that are about several hosts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
FOUR_FIFTHS, HALF = ({"min_serving": share, "hosts": 2} for share in ("80%", "51%"))
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


def share(percent: int, hosts: int) -> Fleet:
    """Return a fleet as a user asks for it."""
    fleet = {"min_serving": f"{percent}%", "hosts": hosts}
    return parse_spec(mapping(fleet=fleet)).fleet


@given(st.integers(0, 100), st.integers(1, 40), st.integers(1, 100))
def test_a_share_is_never_below_what_it_says(percent: int, hosts: int, replicas: int) -> None:
    fleet, whole = share(percent, hosts), hosts * replicas
    floor = fleet.floor(replicas)
    assert 100 * floor >= percent * whole > 100 * (floor - 1)
    assert floor <= whole
    assert fleet.guards is (percent > 0)
    assert fleet.floor(0) == 0


@given(st.integers(1, 40), st.integers(1, 100))
def test_all_of_it_leaves_only_surge_to_go(hosts: int, replicas: int) -> None:
    assert share(100, hosts).floor(replicas) == hosts * replicas
    options = {
        "fleet": {"min_serving": "100%", "hosts": hosts},
        "processes": {"web": {"port": 8080, "replicas": replicas}},
    }
    parse_spec(mapping(**options))
    with pytest.raises(InvalidInput, match=r"^fleet\.min_serving: can never progress"):
        parse_spec(mapping(**options, strategy={"max_surge": 0, "max_unavailable": replicas}))


def test_a_share_is_read_back_and_told() -> None:
    spec = parse_spec(mapping(fleet={"min_serving": "75%", "hosts": 3}))
    assert parse_spec(to_mapping(spec)) == spec
    assert spec.floors() == [
        "of all hosts, targets of web that serve: never below 5 (fleet.min_serving: 75% of 2 on each of 3 hosts)"
    ]
    number = parse_spec(mapping(fleet={"min_serving": 4}))
    assert number.floors() == [
        "of all hosts, targets of web that serve: never below 4 (fleet.min_serving)"
    ]
    assert parse_spec(mapping()).floors() == []


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
    ("min-serving", {"min_serving": "3"}, None, {}, "fleet.min_serving", "must be an integer 0-10000 or a percentage"),
    ("min-serving-share", {"min_serving": "101%", "hosts": 2}, None, {}, "fleet.min_serving", "or a percentage such as 25%"),
    ("min-serving-fraction", {"min_serving": "7.5%", "hosts": 2}, None, {}, "fleet.min_serving", "or a percentage such as 25%"),
    ("share-of-what", {"min_serving": "75%"}, None, {}, "fleet.hosts", "is required, because min_serving is 75%"),
    ("hosts", {"hosts": 0}, None, {}, "fleet.hosts", "must be an integer 1-1000"),
    ("B18-share", FOUR_FIFTHS, None, {"strategy": {"max_surge": 0, "max_unavailable": 1}}, "fleet.min_serving", "can never progress: 4 of web"),
    ("B18-recreate", {"min_serving": "51%", "hosts": 2}, None, {"strategy": {"type": "recreate"}}, "fleet.min_serving", "takes 2 of 4 away"),
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
