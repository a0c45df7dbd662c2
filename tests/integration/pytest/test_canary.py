# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""RO-13, RO-14: a canary behind a real HAProxy under load gets its share, costs no more than its budget, and goes.

Playbooks, HAProxy and containers are the real ones; what is counted is what clients saw.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from tools.chaos import check
from tools.chaos.check import weights
from tools.chaos.rig import Playing, Release, Site, eventually, held, own_site
from tools.loadgen import Load
from tools.loadgen.outcome import HTTP_5XX, OK, Row, read_rows
from tools.sample import free_port, rows

LOAD = ("--timeout", "60", "--connect-timeout", "30")
NO_LOOK = {"analysis": {"max_error_rate": 100}}
"""On a busy host a request may fail for reasons of the host: where figures are not the matter, they do not decide."""
Z_99 = 2.5758
ASKS = {"X-Canary": "yes"}
PREVIEW_PORT = free_port()
PATIENCE = 300.0
"""Seconds for one playbook, however busy the host is."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """HAProxy that shares by weight, and a state folder of these tests."""
    preview = {"header": "X-Canary", "value": "yes", "bind": f"127.0.0.1:{PREVIEW_PORT}"}
    with own_site("canary", balance="roundrobin", preview=preview) as made:
        yield made


@pytest.fixture
def stable(site: Site) -> Iterator[Release]:
    """A release that runs; a test that failed leaves nothing under way."""
    release = patient(site.release(surge=2))
    played(site, "replace", release)
    yield release
    site.tidy()
    site.play("abort", release)


def canary(
    site: Site, *steps: dict[str, Any], env: dict[str, str] | None = None, **more: Any
) -> Release:
    """Make a new release that comes by these steps."""
    strategy = {"type": "canary", "max_surge": 2, "steps": list(steps), **NO_LOOK, **more}
    return patient(site.release(release_strategy=strategy), env or {})


def patient(release: Release, env: Mapping[str, str] = MappingProxyType({})) -> Release:
    """Let it take its time to start, and give it more environment."""
    variables = json.loads(release.spec.read_text())
    variables["release_processes"]["web"]["readiness"]["timeout"] = 120
    variables["release_env"] |= env
    release.spec.write_text(json.dumps(variables))
    return release


@contextlib.contextmanager
def loaded(site: Site, rate: float = 60.0) -> Iterator[Load]:
    """Load, until the body is done."""
    mix = {"keepalive": rate - 12, "new": 10, "slow": 2}
    with Load(site.sample.url, mix=mix, options=LOAD) as load:
        yield load
    shutil.rmtree(load.out, ignore_errors=True)


def played(site: Site, playbook: str, release: Release, code: int = 0) -> str:
    ended = site.start(playbook, release).end(PATIENCE)
    assert ended.code == code, ended.text
    return ended.text


def written(load: Load) -> list[Row]:
    """Return what has been written; the last line may be half a line."""
    found: list[Row] = []
    with contextlib.suppress(TypeError, ValueError):
        found.extend(read_rows(load.out / "rows.csv"))
    return found


def release_of(site: Site, release: Release) -> str:
    """Return the release's ID as its replicas are labelled."""
    for seen in check.containers(site):
        if seen.env["GREETING"] == release.mark:
            return seen.name.rsplit("-", 2)[1]
    raise AssertionError(f"no replica of {release.mark} runs")


def at_hold(site: Site, release: Release) -> str:
    """Deploy until it waits for somebody; return the canary's release ID."""
    text = played(site, "replace", release)
    assert "is held at gate" in text, text
    assert site.lease()["holder"] is None
    return release_of(site, release)


def answer(port: int, headers: Mapping[str, str]) -> tuple[int, str]:
    """Ask on a connection of its own; return the status and the replica that answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/", headers=dict(headers))
        response = connection.getresponse()
        response.read()
        return response.status, response.headers.get("X-App-Instance", "")
    finally:
        connection.close()


def answers(port: int, number: int) -> Iterator[str]:
    """Ask so many times on one connection, as fast as it goes; yield the replica that answered each time."""
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    ) as connection:
        for _number in range(number):
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            yield response.headers["X-App-Instance"]


class Asking:
    """Somebody who asks for the new release all the time, one request after the other."""

    def __init__(self, port: int) -> None:
        self.answers: list[tuple[int, str]] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            try:
                self.answers.append(answer(self._port, ASKS))
            except OSError as failure:
                self.answers.append((0, str(failure)))

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize("ends", ["promote", "abort"])
def test_ro_13_only_who_asks_gets_a_canary_without_a_share(
    site: Site, stable: Release, ends: str
) -> None:
    release = canary(site, {"weight": 0}, {"pause": {}})
    port = site.sample.port
    with loaded(site) as load, Asking(port) as asking:
        new = at_hold(site, release)
        asked = [answer(port, ASKS)[1] for _number in range(20)]
        shown = [answer(PREVIEW_PORT, {})[1] for _number in range(5)]
        others = [answer(port, {"X-Canary": "no"})[1] for _number in range(20)]
        assert all(f"-{new}-" in instance for instance in asked + shown), (asked, shown)
        assert not any(f"-{new}-" in instance for instance in others), others
        played(site, ends, release)
        result = load.stop()
        seen = {row.instance for row in written(load)}
    assert (result.failed_by_outcome, result.planned) == ({}, result.accounted)
    assert {status for status, _instance in asking.answers} == {200}, asking.answers
    check.converged(site, release if ends == "promote" else stable)
    if ends == "abort":
        assert not any(f"-{new}-" in instance for instance in seen), seen
        assert f"-{new}-" not in answer(port, ASKS)[1]
    check.unchanged(site, release if ends == "promote" else stable)


def test_ro_13_the_share_is_what_the_weight_says_and_promote_goes_on(
    site: Site, stable: Release
) -> None:
    release = canary(site, {"weight": 5}, {"pause": {}}, {"weight": 50}, {"pause": 1})
    with loaded(site) as load:
        new = at_hold(site, release)
        assert sorted(weights(site).values()) == [2, 19, 19]
        enough = 20_000
        mine = sum(f"-{new}-" in instance for instance in answers(site.sample.port, enough))
        width = Z_99 * math.sqrt(0.05 * 0.95 / enough)
        assert abs(mine / enough - 0.05) <= width, mine
        played(site, "promote", release)
        result = load.stop()
    assert (result.failed_by_outcome, result.planned) == ({}, result.accounted)
    check.converged(site, release)
    assert set(weights(site).values()) == {1}
    check.unchanged(site, release)


def test_ro_11_abort_takes_the_canary_away(site: Site, stable: Release) -> None:
    release = canary(site, {"weight": 20}, {"pause": {}})
    with loaded(site) as load:
        at_hold(site, release)
        played(site, "abort", release)
        result = load.stop()
    assert result.failed_by_outcome == {}
    check.converged(site, stable)
    assert set(weights(site).values()) == {1}
    assert "nothing to abort" in played(site, "abort", release)


def test_ro_14_a_canary_with_20_percent_errors_is_stopped_within_its_budget(
    site: Site, stable: Release
) -> None:
    watch = {"analysis": {"max_error_rate": 2, "min_requests": 50}}
    release = canary(site, {"weight": 10}, {"pause": 600}, env={"ERROR_RATE": "0.2"}, **watch)
    with loaded(site, 100) as load:
        text = played(site, "replace", release, code=2)
        result = load.stop()
    assert "requests failed" in text and "rolled back" in text, text
    check.converged(site, stable)
    assert set(weights(site).values()) == {1}
    journal = [row for row in rows(site.journal) if row["release"] and row["time"]]
    verdicts = [row for row in journal if row["step"] == "analysis"]
    assert [(row["outcome"], row["detail"]["verdict"]) for row in verdicts] == [("failed", "fail")]
    new = verdicts[0]["release"]
    began = min(
        r["time"]
        for r in journal
        if (r["release"], r["step"], r["outcome"]) == (new, "activate", "ok")
    )
    ended = min(
        r["time"]
        for r in journal
        if (r["release"], r["step"], r["outcome"]) == (new, "drain", "ok")
    )
    # Nothing else than the canary's own errors, and no more of them than its share of the time it was there.
    assert set(result.failed_by_outcome) == {HTTP_5XX}
    budget = 0.1 * 100 * (ended - began) * 0.2
    assert result.failed <= budget + 3 * math.sqrt(budget) + 1, (result.failed, budget)
    figures = verdicts[0]["detail"]["figures"]["web"]
    assert figures["canary"]["errors"] <= 0.02 * max(50, figures["canary"]["requests"]) + 10


@pytest.mark.parametrize("inconclusive", ["fail", "hold"])
def test_ro_14_without_traffic_it_is_inconclusive_and_no_pass(
    site: Site, stable: Release, inconclusive: str
) -> None:
    asked = {"duration": 1, "timeout": 4, "min_requests": 10, "inconclusive": inconclusive}
    release = canary(site, {"weight": 10}, {"analysis": asked})
    if inconclusive == "hold":
        at_hold(site, release)
        played(site, "promote", release)
        check.converged(site, release)
        return
    text = played(site, "replace", release, code=2)
    assert "inconclusive after 4 s" in text and "at least 10 requests each are needed" in text
    check.converged(site, stable)


def test_ro_14_an_analysis_passes_by_itself(site: Site, stable: Release) -> None:
    asked = {"duration": 3, "timeout": 120, "min_requests": 30, "max_latency_ratio": 0}
    release = canary(site, {"weight": 30}, {"analysis": asked})
    with loaded(site) as load:
        played(site, "replace", release)
        result = load.stop()
    assert result.failed_by_outcome == {}
    check.converged(site, release)
    verdicts = [row for row in rows(site.journal) if row["step"] == "analysis"]
    assert (verdicts[-1]["outcome"], verdicts[-1]["detail"]["verdict"]) == ("ok", "pass")


KILLS = {
    "weigh-begin": ("weigh", "begin", 1),
    "weigh-ok": ("weigh", "ok", 1),
    "activate-ok": ("activate", "ok", 1),
    "at-a-gate": ("gate", "begin", 1),
    "behind-a-gate": ("gate", "ok", 1),
    "the-rest": ("drain", "ok", 1),
}


@pytest.mark.parametrize("kill", KILLS)
def test_cr_01_killed_in_the_middle_the_next_run_goes_on(
    site: Site, stable: Release, kill: str
) -> None:
    step, outcome, count = KILLS[kill]
    release = canary(site, {"weight": 10}, {"pause": 3}, {"weight": 40}, {"pause": 3})
    with loaded(site) as load:
        run = site.start("replace", release)
        run.until(lambda it: _happened(it, step, outcome, count), PATIENCE)
        run.kill(99)
        passed = _gates(run)
        text = played(site, "replace", release)
        result = load.stop()
    assert result.failed_by_outcome == {}, text
    check.converged(site, release)
    assert set(weights(site).values()) == {1}
    # A gate that was passed before the kill is not stood at again.
    assert [gate for gate in _gates(run) if passed and gate == passed[0]] == passed[:1]
    check.unchanged(site, release)


def _happened(run: Playing, step: str, outcome: str, count: int) -> bool:
    found = [row for row in run.rows() if (row["step"], row["outcome"]) == (step, outcome)]
    return len(found) >= count


def _gates(run: Playing) -> list[str]:
    """Return the gates that were passed since the run began, in order."""
    found = [row for row in run.rows() if (row["step"], row["outcome"]) == ("gate", "ok")]
    return [str(row["detail"]["gate"]) for row in found]


def test_weights_survive_a_restart_of_haproxy(site: Site, stable: Release) -> None:
    release = canary(site, {"weight": 10}, {"pause": {}})
    at_hold(site, release)
    before = weights(site)
    assert sorted(before.values()) == [2, 9, 9]
    restarted(site)
    eventually(lambda: weights_or_none(site) == before)
    played(site, "promote", release)
    check.converged(site, release)


def weights_or_none(site: Site) -> dict[str, int] | None:
    with contextlib.suppress(OSError, IndexError):
        return weights(site)
    return None


def previewed(site: Site) -> tuple[set[str], set[str]]:
    """Return the replicas in the map as HAProxy has it, and in its file, by their releases."""
    file = site.config.with_name("preview-shop.map")
    shown = check.ask(site, "show map /etc/haproxy/cfg/preview-shop.map").splitlines()
    found = (
        [line.split()[-1] for line in text if line.strip()]
        for text in (shown, file.read_text().splitlines())
    )
    mine, kept = ({name.rsplit("-", 2)[1] for name in names} for names in found)
    return mine, kept


def restarted(site: Site) -> None:
    """Restart HAProxy, which then knows what is in its files."""
    subprocess.run(["docker", "restart", site.sample.balancer], check=True, capture_output=True)
    eventually(lambda: weights_or_none(site), PATIENCE)


@pytest.mark.parametrize("restarts", ["before-the-next-run", "after-it"])
def test_cr_01_killed_between_the_preview_map_and_its_file(
    site: Site, stable: Release, restarts: str
) -> None:
    """The module dies when HAProxy has the new map and its file not yet: the next run must not leave it so."""
    release = canary(site, {"weight": 0}, {"pause": {}})
    shown, before = previewed(site)
    assert shown == before
    with held(site.config.with_name(".preview-shop.map.lock")):
        run = site.start("replace", release)
        run.until(lambda _run: previewed(site)[0] - before, PATIENCE)
        run.kill(99)
    new = release_of(site, release)
    assert previewed(site) == ({new}, before)
    if restarts == "before-the-next-run":
        restarted(site)
        assert previewed(site) == (before, before)
    assert at_hold(site, release) == new
    assert previewed(site) == ({new}, {new})
    if restarts == "after-it":
        restarted(site)
        assert previewed(site) == ({new}, {new})
    played(site, "abort", release)
    assert previewed(site) == (set(), set())
    check.converged(site, stable)


def test_b60_a_balance_that_does_not_share_by_weight_is_refused(
    site: Site, stable: Release
) -> None:
    sample = site.sample
    backend = {"name": "shop", "bind": f"127.0.0.1:{sample.port}", "balance": "leastconn"}
    sample.prepare("-e", json.dumps({"load_balancer_backends": [backend]}))
    try:
        text = played(site, "replace", canary(site, {"weight": 10}, {"pause": 1}), code=2)
    finally:
        backend["balance"] = "roundrobin"
        sample.prepare("-e", json.dumps({"load_balancer_backends": [backend]}))
    assert "strategy.type: needs a load balancer that gives each target a share" in text
    assert "balances by leastconn, found string 'canary'" in text
    check.converged(site, stable)


def test_the_same_count_sees_a_wrong_share(site: Site, stable: Release) -> None:
    """Positive control: with equal weights the canary's share is none that the interval of 10 % has."""
    release = canary(site, {"weight": 33}, {"pause": {}})
    with loaded(site, 150) as load:
        new = at_hold(site, release)
        since = time.time()
        while len(seen := [row for row in written(load) if row.planned > since]) < 1500:
            time.sleep(1)
        load.stop()
    mine = sum(f"-{new}-" in row.instance for row in seen if row.outcome == OK)
    assert abs(mine / len(seen) - 0.1) > Z_99 * math.sqrt(0.1 * 0.9 / len(seen))
    played(site, "abort", release)
