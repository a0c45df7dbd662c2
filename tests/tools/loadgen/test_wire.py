# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The parser finds the end of an answer exactly, however its bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.loadgen.wire import Malformed, ResponseParser

BODIES = st.binary(max_size=200)


def length_answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def chunked_answer(parts: list[bytes]) -> bytes:
    chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX: y\r\n\r\n"


def feed_cut(parser: ResponseParser, data: bytes, cuts: list[int]) -> list[bool]:
    """Feed the data in pieces; what feed() said after each."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    pairs = zip(places, places[1:], strict=False)
    return [parser.feed(data[begin:end]) for begin, end in pairs]


@given(st.lists(BODIES, max_size=6), st.booleans(), st.lists(st.integers(0, 10**6), max_size=12))
def test_complete_only_at_the_last_byte(parts: list[bytes], chunked: bool, cuts: list[int]) -> None:
    body = b"".join(parts)
    data = chunked_answer(parts) if chunked else length_answer(body)
    parser = ResponseParser()
    said = feed_cut(parser, data, cuts)
    assert said == [False] * (len(said) - 1) + [True]
    assert (parser.status, parser.body, parser.surplus) == (200, body, False)
    assert parser.keep_alive


@given(st.lists(BODIES, min_size=1, max_size=4), st.booleans(), st.integers(1, 10**6))
def test_a_cut_answer_is_never_complete(parts: list[bytes], chunked: bool, cut: int) -> None:
    data = chunked_answer(parts) if chunked else length_answer(b"".join(parts))
    parser = ResponseParser()
    assert not parser.feed(data[: cut % len(data)])
    assert not parser.eof()


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    parser = ResponseParser()
    try:
        parser.feed(data)
    except Malformed:
        assert not parser.done


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", True),
    ],
)
def test_whether_a_connection_may_be_used_again(data: bytes, reusable: bool) -> None:
    parser = ResponseParser()
    assert parser.feed(data)
    assert parser.keep_alive is reusable


def test_without_a_length_only_the_end_of_the_connection_completes() -> None:
    parser = ResponseParser()
    assert not parser.feed(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    assert parser.eof()
    assert (parser.body, parser.keep_alive) == (b"all of it", False)


def test_bytes_after_the_answer_are_noticed() -> None:
    parser = ResponseParser()
    assert parser.feed(length_answer(b"x") + b"HTTP/1.1 408 Late\r\n\r\n")
    assert parser.surplus


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX",
        b"HTTP/1.1 200 " + b"x" * 70000,
    ],
)
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        ResponseParser().feed(data)
