# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What can become of a request, and the row that records it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

OK = "ok"
HTTP_5XX = "http_5xx"
HTTP_OTHER = "http_other"
CONNECT_REFUSED = "connect_refused"
CONNECT_TIMEOUT = "connect_timeout"
CONNECT_ERROR = "connect_error"
RESET = "reset"
CLOSED = "closed_before_response"
TRUNCATED = "truncated"
TIMEOUT = "timeout"
BAD_BODY = "bad_body"
MALFORMED = "malformed"
CLIENT_ERROR = "client_error"

FAILURES = {
    HTTP_5XX: "answered with a status of 500 or more",
    HTTP_OTHER: "answered with another status than the expected one",
    CONNECT_REFUSED: "nobody listened",
    CONNECT_TIMEOUT: "no connection in time",
    CONNECT_ERROR: "the connection could not be made for another reason",
    RESET: "the connection was reset before any byte of the answer",
    CLOSED: "the connection was closed before any byte of the answer",
    TRUNCATED: "the answer began but did not end",
    TIMEOUT: "no complete answer in time",
    BAD_BODY: "a complete answer with the wrong content",
    MALFORMED: "an answer that is not HTTP (or not a WebSocket frame)",
    CLIENT_ERROR: "the load generator itself failed; counted against the run all the same",
}


class ExchangeFailed(Exception):
    """A request that did not end well; carries its outcome."""

    def __init__(self, outcome: str, detail: str = "", status: int = 0) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail
        self.status = status


@dataclass(frozen=True, slots=True)
class Seen:
    """What a successful exchange showed."""

    status: int
    version: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One planned request and its one outcome. Times are wall-clock seconds and milliseconds."""

    id: int
    kind: str
    planned: float
    latency_ms: float
    outcome: str
    status: int = 0
    version: str = ""
    instance: str = ""
    lag_ms: float = 0.0
    detail: str = ""

    @property
    def finished(self) -> float:
        return self.planned + self.latency_ms / 1000


COLUMNS = tuple(field.name for field in fields(Row))


def to_record(row: Row) -> list[str]:
    """A row as text fields, rounded to what is meaningful."""
    values = list(astuple(row))
    values[2], values[3], values[8] = (
        f"{row.planned:.6f}",
        f"{row.latency_ms:.3f}",
        f"{row.lag_ms:.3f}",
    )
    return [str(value) for value in values]


def read_rows(path: Path | str) -> Iterator[Row]:
    """The rows of a `rows.csv`, in the order in which they were settled."""
    with open(path, newline="", encoding="utf-8") as stream:
        for record in csv.DictReader(stream):
            yield Row(
                id=int(record["id"]),
                kind=record["kind"],
                planned=float(record["planned"]),
                latency_ms=float(record["latency_ms"]),
                outcome=record["outcome"],
                status=int(record["status"]),
                version=record["version"],
                instance=record["instance"],
                lag_ms=float(record["lag_ms"]),
                detail=record["detail"],
            )
