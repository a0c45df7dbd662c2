# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rewriting the managed part leaves every other byte as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_config as config,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_state as state,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.haproxy import CHECK

TEXT = """\
global
    maxconn 10
backend shop
    balance leastconn
    server fixed 10.0.0.9:80
    # server gone 10.0.0.8:80
    server-template slot 1-3 10.0.0.7:80
\t# BEGIN immutable.cutover targets of shop
    server old 10.0.0.1:80 check weight 1
    # END immutable.cutover targets of shop
backend other
    server one 10.0.0.1:80
    # BEGIN immutable.cutover targets of other
    # END immutable.cutover targets of other
"""
ACTIVE = state.Server("one", "10.0.0.1", 8080, 2, 0, 5, 1, 6)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (ACTIVE, "server one 10.0.0.1:8080 CHECK weight 5"),
        (replace(ACTIVE, admin_bits=8), "server one 10.0.0.1:8080 CHECK weight 5 disabled"),
        (replace(ACTIVE, admin_bits=1), "server one 10.0.0.1:8080 CHECK weight 5 disabled"),
        (replace(ACTIVE, address="::1"), "server one [::1]:8080 CHECK weight 5"),
        (replace(ACTIVE, check_bits=0), "server one 10.0.0.1:8080 weight 5"),
        (replace(ACTIVE, weight=0), "server one 10.0.0.1:8080 CHECK weight 0 disabled"),
    ],
)
def test_only_an_active_server_comes_back_with_traffic(server: state.Server, expected: str) -> None:
    assert config.server_line(server, "CHECK") == expected


def test_replace_keeps_the_rest_and_the_indent() -> None:
    after = config.replace_managed(TEXT, "shop", ["server new 10.0.0.2:80"])
    assert after == TEXT.replace(
        "    server old 10.0.0.1:80 check weight 1\n", "\tserver new 10.0.0.2:80\n"
    )
    assert config.managed_lines(after, "shop") == ("server new 10.0.0.2:80",)
    assert config.managed_lines(after, "other") == ()
    assert config.managed_backends(TEXT) == ("shop", "other")


@given(
    st.lists(st.from_regex(r"server [a-z]{1,9} 10\.0\.0\.\d{1,2}:80", fullmatch=True), max_size=5)
)
def test_replacing_is_idempotent_and_reversible(lines: list[str]) -> None:
    once = config.replace_managed(TEXT, "shop", lines)
    assert config.replace_managed(once, "shop", lines) == once
    assert config.managed_lines(once, "shop") == tuple(lines)
    assert config.without_managed(once) == config.without_managed(TEXT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("backend shop\n", "has no managed part"),
        (TEXT.replace("# END immutable.cutover targets of shop", ""), "exactly one begin"),
        (TEXT + TEXT, "exactly one begin"),
        (
            TEXT.replace("BEGIN", "X").replace("END", "BEGIN").replace("X", "END"),
            "exactly one begin",
        ),
    ],
)
def test_a_damaged_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(config.ConfigProblem, match=said):
        config.replace_managed(text, "shop", [])


def test_foreign_servers_are_not_ours() -> None:
    names = ("fixed", "slot1", "slot12", "slots", "gone", "one", "old")
    servers = [replace(ACTIVE, name=name) for name in names]
    ours = [server.name for server in config.ours(servers, TEXT, "shop")]
    assert ours == ["slots", "gone", "one", "old"]


def test_a_new_rendering_takes_the_targets_over() -> None:
    new = config.without_managed(TEXT).replace("maxconn 10", "maxconn 20")
    carried = config.carry_over(new, {"shop": config.managed_lines(TEXT, "shop"), "no": ("x",)})
    assert config.managed_lines(carried, "shop") == config.managed_lines(TEXT, "shop")
    assert config.without_managed(carried) == new


def test_shape_ignores_names_and_numbers_only() -> None:
    def shape(*servers: state.Server) -> str:
        lines = [config.server_line(server, CHECK) for server in servers]
        return config.shape(config.replace_managed(TEXT, "shop", lines))

    other = replace(ACTIVE, name="two", address="10.9.9.9", port=1, weight=200)
    assert shape(ACTIVE) == shape(other) == shape(ACTIVE, other)
    assert shape(ACTIVE) != shape(replace(ACTIVE, admin_bits=8))
    assert shape(ACTIVE) != shape()
    assert shape(ACTIVE) != shape(ACTIVE).replace("maxconn 10", "maxconn 11")
    odd = config.replace_managed(TEXT, "shop", ["server one 10.0.0.1:80 nonsense weight 1"])
    assert "nonsense" in config.shape(odd)
