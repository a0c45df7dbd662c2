# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy's answers mean; the texts are what HAProxy 2.6.12 answered."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_state as state,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Health,
)

HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"
    " srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state"
    " srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl"
    " srv_check_port srv_check_addr srv_agent_addr srv_agent_port"
)
STAT = "# pxname,svname,qcur,scur,lbtot,type,check_status,check_code,last_chk,"


def answer(op: int, admin: int, *, weight: int = 1, checks: int = 6, stat: str = "") -> str:
    row = f"3 shop 1 one 10.0.0.1 {op} {admin} {weight} 1 9 6 3 4 {checks} 0 0 0 - 8080 - 0 0 - - 0"
    return f"1\n{HEADER}\n{row}\n\n{STAT}\n{stat}\n\n"


@pytest.mark.parametrize(
    ("op", "admin", "stat", "expected", "health"),
    [
        (2, 0, "shop,one,0,0,9,2,L7OK,200,OK,", Admin.ACTIVE, Health.UP),
        (2, 4, "shop,one,0,0,9,2,L7OK,200,OK,", Admin.ACTIVE, Health.UP),
        (0, 0, "shop,one,0,0,9,2,L4CON,,Connection refused,", Admin.ACTIVE, Health.DOWN),
        (2, 0, "shop,one,0,0,9,2,* L7OK,200,OK,", Admin.ACTIVE, Health.UP),
        (2, 8, "shop,one,0,0,9,2,L7OK,200,OK,", Admin.DRAINING, Health.UP),
        (2, 12, "shop,one,0,0,0,2,INI,,,", Admin.STANDBY, Health.STARTING),
        (2, 8, "shop,one,0,0,0,2,* L7OK,200,OK,", Admin.STANDBY, Health.UP),
        (2, 8, "shop,one,0,0,0,2,L7STS,503,bad,", Admin.STANDBY, Health.DOWN),
        (0, 8, "shop,one,0,0,0,2,L7OK,200,OK,", Admin.STANDBY, Health.STARTING),
        (2, 8, "shop,one,0,1,0,2,L7OK,200,OK,", Admin.DRAINING, Health.UP),
        (2, 8, "shop,one,1,0,0,2,L7OK,200,OK,", Admin.DRAINING, Health.UP),
        (0, 1, "shop,one,0,0,9,2,,,,", Admin.MAINTENANCE, Health.UNKNOWN),
        (0, 5, "shop,one,0,0,0,2,,,,", Admin.MAINTENANCE, Health.UNKNOWN),
        (0, 0x20, "shop,one,0,0,0,2,,,,", Admin.MAINTENANCE, Health.UNKNOWN),
        (0, 9, "shop,one,0,0,0,2,,,,", Admin.MAINTENANCE, Health.UNKNOWN),
    ],
)
def test_state_and_health(op: int, admin: int, stat: str, expected: Admin, health: Health) -> None:
    (server,) = state.parse_servers(answer(op, admin, stat=stat), "shop")
    assert (server.admin, server.health) == (expected, health)
    assert (server.name, server.address, server.port) == ("one", "10.0.0.1", 8080)


def test_weight_zero_drains_and_a_check_that_is_off_says_nothing() -> None:
    row = "shop,one,0,0,3,2,L7OK,200,OK,"
    (server,) = state.parse_servers(answer(2, 0, weight=0, stat=row), "shop")
    assert server.admin is Admin.DRAINING
    (server,) = state.parse_servers(answer(2, 8, checks=2, stat=row), "shop")
    assert server.health is Health.UNKNOWN and not server.check_enabled


def test_a_server_whose_load_is_unknown_is_not_taken_for_idle() -> None:
    assert state.parse_servers(answer(2, 8, stat="other,one,0,0,0,2,L7OK,200,OK,"), "shop") == ()


def test_the_last_check_is_told_in_full() -> None:
    row = 'shop,one,0,0,0,2,L7STS,503,"HTTP status check returned code <3C>503<3E>",'
    (server,) = state.parse_servers(answer(2, 8, stat=row), "shop")
    assert server.check == "L7STS 503 HTTP status check returned code <3C>503<3E>"


def test_load_is_read_per_server_and_not_of_the_whole() -> None:
    rows = "shop,one,2,3,9,2,,,,\nother,one,8,8,9,2,,,,\nshop,BACKEND,7,7,9,1,,,,"
    loads = state.parse_load(f"{STAT}\n{rows}\n\n", "shop")
    assert set(loads) == {"one"}
    assert (loads["one"].current, loads["one"].queued) == (3, 2)


@pytest.mark.parametrize("text", ["", "1\n", "Can't find backend.\n", "\n\n", "# pxname"])
def test_what_is_no_answer_is_not_read_as_an_empty_backend(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        state.parse_servers(text, "shop")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError, KeyError):
        assert state.parse_servers(text, "shop") is not None


def test_processes() -> None:
    text = (
        "#<PID>          <type>          <reloads>       <uptime>        <version>\n"
        "7               master          1 [failed: 0]   0d00h00m05s     2.6.12\n"
        "# workers\n12              worker          0               0d00h00m01s     2.6.12\n"
        "# old workers\n9               worker          1               0d00h00m05s     2.6.12\n"
        "# programs\n\n"
    )
    found = state.parse_processes(text)
    assert (found.workers, found.leaving, found.pids) == ((12,), (9,), (12, 9))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2.6.12-1+deb12u4", (2, 6)), ("3.2-dev1", (3, 2)), ("2.10.1", (2, 10)), ("", (0, 0))],
)
def test_versions(text: str, expected: tuple[int, int]) -> None:
    assert state.version_tuple(text) == expected


TRAFFIC = (
    "# pxname,svname,type,mode,stot,req_tot,hrsp_5xx,econ,eresp,srv_abrt,rtime,algo,\n"
    "shop,good,2,http,9,9,0,0,0,0,12,,\n"
    "shop,five,2,http,9,9,3,0,0,0,12,,\n"
    "shop,refused,2,http,4,0,0,4,0,0,0,,\n"
    "shop,silent,2,http,4,1,0,0,3,0,0,,\n"
    "shop,broken,2,http,4,4,1,0,2,2,7,,\n"
    "shop,plain,2,tcp,8,,,1,1,0,,,\n"
    "other,good,2,http,5,5,5,0,0,0,1,,\n"
)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("good", (9, 0, 12.0)),
        ("five", (9, 3, 12.0)),
        ("refused", (4, 4, 0.0)),
        ("silent", (4, 3, 0.0)),
        ("broken", (4, 3, 7.0)),
        ("plain", (8, 2, None)),
    ],
)
def test_ro_14_no_request_counts_twice_and_no_failure_is_missed(
    name: str, figures: tuple[int, int, float | None]
) -> None:
    found = state.parse_traffic(TRAFFIC, "shop")[name]
    assert (found.requests, found.errors, found.response_ms) == figures


def test_the_balance_algorithm_is_that_of_the_backend() -> None:
    rows = "# pxname,svname,type,algo,\nshop,FRONTEND,0,,\nother,BACKEND,1,leastconn,\nshop,BACKEND,1,roundrobin,\n"
    assert state.parse_balance(rows, "shop") == "roundrobin"
    assert state.parse_balance(rows, "nobody") == ""
