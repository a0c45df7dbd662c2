# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""CR-01, CR-03, CR-04, CR-05: a few cases of the matrix of C(make chaos).

Always the same ones, so that a change is judged by what it changed; CHAOS_SEED, or C(make chaos), takes others.
C(python -m tools.chaos --seed N --sample 14) runs the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from tools.chaos import check
from tools.chaos.cases import matrix, sample
from tools.chaos.control import kill_first
from tools.chaos.faults import await_balancer
from tools.chaos.run import FAILED, PASSED, Options, run_case
from tools.chaos.world import World, world

CASES, SEED = 14, 1
SECONDS = 170.0
"""No case is begun after that time: on a slow machine there are fewer."""
PAUSE, HANG = 8.0, 5.0


@pytest.fixture(scope="module")
def site() -> Iterator[World]:
    """A site on an engine of its own; where none can run, on the machine's. With a controller apart, if that can be."""
    with world(needs_it=False) as made:
        yield made


def test_cr_01_a_sample_of_the_matrix(site: World) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or SEED)
    every = matrix(own_engine=site.engine is not None, over_ssh=site.remote is not None)
    cases = sample(every, seed, CASES)
    print(f"seed {seed}, {CASES} cases")
    options = Options(seed=seed, pause=PAUSE, hang=HANG)
    deadline = time.monotonic() + SECONDS
    results = []
    for case in cases:
        if time.monotonic() < deadline:
            results.append(run_case(site, case, options))
            print(f"{results[-1].outcome} {case.id}: {results[-1].landed}", flush=True)
    bad = [(item.id, item.problems, item.kept) for item in results if item.outcome == FAILED]
    assert bad == [], f"seed {seed}"
    assert sum(item.outcome == PASSED for item in results) >= 2, results


def test_cr_04_haproxy_that_was_reloaded_comes_back_with_the_engine(site: World) -> None:
    """An engine takes any signal that it hands on for the wish to stop; that must not keep it from starting HAProxy."""
    if site.engine is None:
        pytest.skip("no second engine can run here, and this machine's is not restarted")
    site.site.docker(
        "kill", "--signal", "USR2", site.site.sample.balancer
    )  # as the role reloads it
    await_balancer(site.site)
    site.engine.restart()
    await_balancer(site.site)
    assert site.site.play("replace", site.current).code == 0
    check.converged(site.site, site.current, ())


def test_the_load_sees_a_naive_order(site: World) -> None:
    """Positive control: an old replica is killed before its successor is there."""
    books = kill_first(site.site, site.current, 60.0)
    assert books.planned == books.accounted
    assert books.failed > 0
    check.converged(site.site, site.current)


def test_the_checker_sees_what_is_wrong(site: World) -> None:
    """Positive control of the other invariants: each is broken by hand, and named."""
    rows = check.tail(site.site)
    one = check.containers(site.site)[0]
    lease = site.site.app_folder / "lease.json"
    free = lease.read_text(encoding="utf-8")
    lease.write_text(json.dumps(json.loads(free) | {"holder": {"run": "dead"}}), encoding="utf-8")
    unfinished = site.site.app_folder / "lease.json.new.1"
    unfinished.touch()
    found = " ".join(check.amiss(site.site, site.current, rows.rows()))
    assert "the lease is still held by" in found
    assert "an unfinished file was left" in found
    lease.write_text(free, encoding="utf-8")
    unfinished.unlink()
    check.ask(site.site, f"set server shop/{one.name} state drain")
    assert "HAProxy has" in " ".join(check.amiss(site.site, site.current, rows.rows()))
    assert site.site.play("replace", site.current).code == 0
    check.converged(site.site, site.current, rows.rows())
