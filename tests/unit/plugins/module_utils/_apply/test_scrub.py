# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SE-06: a canary in a secret must not leave the host in what a failure repeats of the app's own words."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._apply.scrub import (
    SHOWN,
    UNREADABLE,
    Scrubber,
    secret_values,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
    LoadBalancerErrorKind,
    ProbeError,
)
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import IMAGE_ID

CANARY = "c4n4ry/ü\\'\"+x"


def scrubbed(text: str, *values: str) -> str:
    return Scrubber(lambda: values).text(text)


@pytest.mark.parametrize(
    "written",
    [
        CANARY,
        repr(CANARY),
        json.dumps({"password": CANARY}),
        quote(CANARY),
        quote(CANARY, safe=""),
        base64.b64encode(CANARY.encode()).decode(),
        "'…answer c4n4ry/'...",
    ],
)
def test_se_06_a_value_is_hidden_however_it_is_written(written: str) -> None:
    assert "c4n4r" not in scrubbed(f"the app said {written} and ended", CANARY)
    assert base64.b64encode(b"c4n4").decode()[:5] not in scrubbed(written, CANARY)


@given(st.lists(st.text(min_size=4, max_size=12), max_size=4), st.data())
def test_no_value_is_left_in_any_text(values: list[str], data: st.DataObject) -> None:
    words = [st.sampled_from(values), st.text(max_size=5)] if values else [st.text(max_size=5)]
    text = "".join(data.draw(st.lists(st.one_of(words), max_size=8)))
    clean = scrubbed(text, *values)
    for value in values:
        assert value not in clean.replace(SHOWN, "\0")


def test_what_is_secret_and_what_is_not(tmp_path: Path) -> None:
    url, key = tmp_path / "url", tmp_path / "key"
    url.write_text("postgresql://shop:p%40ss-word@db.internal/shop\n")
    key.write_text("-----BEGIN KEY-----\nMIIEabcdef\n-----END KEY-----\n")
    env = {
        "LOG_LEVEL": "info",
        "DB_PASS": "hunter2",
        "CACHE": "redis://:r3dis@cache/0",
        "KEY_FILE": "/run/secrets/KEY",
        "TOKEN_TTL": "3600",
        "COOKIE_SECURE": "true",
        "SALT": "abc",
    }
    found = secret_values(env, [str(url), str(key)])
    for value in ("p%40ss-word", "p@ss-word", "MIIEabcdef", "hunter2", "r3dis"):
        assert value in found
    for value in ("info", "/run/secrets/KEY", "3600", "true", "abc", "redis://:r3dis@cache/0"):
        assert value not in found


def test_an_error_keeps_its_kind_and_loses_the_value() -> None:
    details: dict[str, Any] = {"log": [f"at {CANARY}"], "end": {"code": 1, "said": CANARY}, "n": 3}
    error = LoadBalancerError(LoadBalancerErrorKind.STALE, f"x {CANARY}", "", **details)
    Scrubber(lambda: (CANARY,)).error(error)
    assert error.message == str(error) == f"x {SHOWN}"
    assert error.kind is LoadBalancerErrorKind.STALE
    assert error.details["log"] == [f"at {SHOWN}"]
    assert error.details["end"] == {"code": 1, "said": SHOWN}
    assert (error.details["n"], error.details["kind"]) == (3, "stale")


def test_what_cannot_be_scrubbed_is_not_shown(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text(CANARY)
    for source in (tmp_path / "nosuch", link, tmp_path):
        message = f"http://x/: not ready; last answer: {CANARY}"
        error = ProbeError(message, log=[CANARY], probe_history=[CANARY], last=CANARY, status=503)
        Scrubber(lambda source=source: secret_values({}, [str(source)])).error(error)  # type: ignore[misc]  # mypy infers no lambda with a default
        assert error.message == f"http://x/: not ready; last answer: {UNREADABLE}"
        assert CANARY not in repr(error.details)
        assert error.details["status"] == 503


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path / "state", monkeypatch, image(IMAGE_ID))
    yield made
    made.rig.close()


@pytest.mark.parametrize("logged", ["c4n4ry-of-a-file", "s3cr3t", "c4n4ry-of-a-variable"])
def test_se_06_a_failed_release_does_not_tell_its_secrets(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: str
) -> None:
    source = tmp_path / "secret"
    source.write_text("c4n4ry-of-a-file\npostgresql://shop:s3cr3t@db/shop\n")
    spec = host.spec(
        "1",
        secrets={"DB": {"source": str(source), "sha256": "0" * 64}},
        env={"SIGNING_PWD": "c4n4ry-of-a-variable"},
        web={"readiness": {"path": f"/never?{logged}", "timeout": 1}},
    )
    said = f"cannot connect with {logged}"
    monkeypatch.setattr(host.engine, "logs", lambda _id, _tail: f"starting\n{said}")
    monkeypatch.setattr(
        "ansible_collections.immutable.cutover.plugins.module_utils._probe.http.shown_body",
        lambda _body: said,
    )
    result = host.apply(spec)
    assert result["status"] == "failed"
    assert result["error_details"]["log"] == ["starting", f"cannot connect with {SHOWN}"]
    assert SHOWN in result["error_details"]["probe_history"][0]
    assert logged not in json.dumps(result)
    journal = (host.state_dir / "apps" / "shop" / "journal.jsonl").read_text()
    assert SHOWN in journal
    assert logged not in journal
