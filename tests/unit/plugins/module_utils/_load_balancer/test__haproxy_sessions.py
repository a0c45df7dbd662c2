# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading C(show sess all) of HAProxy 2.6."""

from __future__ import annotations

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._haproxy_sessions import (
    parse_sessions,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Session


def block(pointer: str, number: int, server: str, age: str, state: str, backend: str = "b") -> str:
    """One session as HAProxy 2.6.12 prints it, less what nobody reads."""
    return f"""\
{pointer}: [26/Nov/2026:22:10:19.389588] id={number} proto=tcpv4 source=127.0.0.1:56356
  flags=0x400c4a, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=0x1, pend_pos=(nil) waiting=0 epoch=0
  frontend=f (id=2 mode=http), listener=? (id=1) addr=127.0.0.1:18999
  backend={backend} (id=3 mode=http) addr=127.0.0.1:35850
  server={server} (id=1) addr=127.0.0.1:18998
  task=0x5558919298e0 (state=0x00 nice=0 calls=3 rate=0 exp=2s tmask=0x1 age={age})
  txn=0x5558919299b0 flags=0x8000 meth=1 status=101 req.st=MSG_DONE rsp.st={state} req.f=0xcc rsp.f=0xcc
  scf=0x5558918cc0d0 flags=0x00000000 state=EST endp=CONN,0x555891929810,0x02842001 sub=1
"""


CLI = """\
0x7f62d404c8e0: [26/Nov/2026:22:10:21.399586] id=6 proto=unix_stream source=unix:1
  flags=0x8, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=(nil), pend_pos=(nil) waiting=0 epoch=0x1
  frontend=GLOBAL (id=0 mode=tcp), listener=? (id=1) addr=unix:1
  backend=<NONE> (id=-1 mode=-)
  server=<NONE> (id=-1)
  task=0x7f62d404ccd0 (state=0x00 nice=-64 calls=1 rate=0 exp=<NEVER> tmask=0x2 age=0s)
"""


def test_the_sessions_of_one_server_of_one_backend() -> None:
    answer = (
        block("0x1a", 2, "x", "2s", "MSG_TUNNEL")
        + block("0x1b", 3, "y", "2s", "MSG_TUNNEL")
        + CLI
        + block("0x1c", 4, "x", "7s", "MSG_DATA")
        + block("0x1d", 5, "x", "7s", "MSG_DATA", backend="other")
    )
    assert parse_sessions(answer, "b", "x") == (
        Session("0x1a#2", 2, True),
        Session("0x1c#4", 7, False),
    )


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        ("0s", 0),
        ("59s", 59),
        ("1m", 60),
        ("59m57s", 3597),
        ("1h2m", 3720),
        ("2d3h", 183600),
        ("?", 0),
    ],
)
def test_ages(age: str, seconds: int) -> None:
    assert parse_sessions(block("0x1", 1, "x", age, "MSG_DATA"), "b", "x")[0].seconds == seconds


def test_nothing_is_no_session() -> None:
    assert parse_sessions("\n", "b", "x") == ()
