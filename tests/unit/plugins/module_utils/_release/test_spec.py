# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._release.process_spec import (
    SIGNALS,
    Drain,
    Limits,
    Readiness,
    Stop,
    WarmUp,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    Strategy,
    parse_spec,
    release_id,
    to_mapping,
)
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE,
    IMAGE_ID,
    OTHER_IMAGE_ID,
    mapping,
    with_option,
)

SECONDS = st.integers(1, 86400)
HTTP_PATH = st.from_regex(r"/[!-~]{0,20}", fullmatch=True)
SHARE = st.integers(0, 100) | st.integers(0, 100).map(lambda part: f"{part}%")
ENV_NAME = st.from_regex("[A-Z_][A-Z0-9]{0,6}", fullmatch=True).filter(lambda name: name != "PORT")
PROCESS = st.fixed_dictionaries(
    {"port": st.integers(1, 65535)},
    optional={
        "replicas": st.integers(1, 100),
        "command": st.lists(st.text(max_size=5), max_size=3),
        "readiness": st.fixed_dictionaries(
            {},
            optional={
                "path": HTTP_PATH,
                "status": st.lists(st.integers(100, 599), max_size=3),
                "expect": st.text(max_size=5),
                "interval": SECONDS,
                "successes": st.integers(1, 100),
                "timeout": SECONDS,
            },
        ),
        "warm_up": st.fixed_dictionaries(
            {"requests": st.lists(HTTP_PATH, min_size=1, max_size=2)},
            optional={"max_p95_ratio": st.floats(1, 100)},
        ),
        "drain": st.fixed_dictionaries(
            {},
            optional={
                "timeout": SECONDS,
                "on_timeout": st.sampled_from(["fail", "force"]),
                "long_lived": st.fixed_dictionaries(
                    {}, optional={"timeout": SECONDS, "close_over": SECONDS, "older_than": SECONDS}
                ),
            },
        ),
        "stop": st.fixed_dictionaries(
            {},
            optional={
                "signal": st.sampled_from([*SIGNALS, *(name[3:] for name in SIGNALS)]),
                "grace_period": SECONDS,
            },
        ),
        "resources": st.fixed_dictionaries(
            {},
            optional={
                "memory": st.integers(6, 4096).map(lambda size: f"{size}m"),
                "cpus": st.floats(0.01, 1024) | st.integers(1, 8),
                "pids": st.integers(8, 1_000_000),
            },
        ),
    },
)
DIGEST = st.from_regex("[0-9a-f]{64}", fullmatch=True)
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA+/==\n-----END PUBLIC KEY-----\n"
ANALYSIS = st.fixed_dictionaries(
    {},
    optional={
        "duration": st.integers(1, 600),
        "max_error_rate": st.floats(0, 100) | st.integers(0, 100),
        "min_requests": st.integers(1, 1000),
        "inconclusive": st.sampled_from(["fail", "hold"]),
    },
)
CANARY: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "type": st.just("canary"),
        "steps": st.lists(
            st.builds(lambda n: {"pause": n}, st.integers(1, 9))
            | st.just({"pause": {}})
            | st.builds(lambda asked: {"analysis": asked}, ANALYSIS),
            max_size=4,
        ).map(lambda rest: [{"weight": 1}, *rest, {"weight": 99}]),
    },
    optional={"replicas": SHARE.filter(lambda share: share != 0), "analysis": ANALYSIS},
)
SPECS = st.fixed_dictionaries(
    {
        "app": st.just("shop"),
        "image": st.just(IMAGE),
        "processes": st.dictionaries(st.sampled_from(["web", "api"]), PROCESS, min_size=1),
        "strategy": st.fixed_dictionaries(
            {"max_surge": SHARE.filter(lambda share: share not in (0, "0%"))},
            optional={
                "max_unavailable": SHARE,
                "min_ready_seconds": st.integers(0, 86400),
                "progress_deadline": st.integers(0, 86400),
                "while_held": st.sampled_from(["refuse", "abort", "wait"]),
                "on_failure": st.sampled_from(["rollback", "stop"]),
            },
        )
        | CANARY,
    },
    optional={
        "version": st.sampled_from(["", "1.4.2", "2026-01-01+5"]),
        "env": st.dictionaries(
            ENV_NAME,
            st.text(max_size=5).filter(lambda text: "\0" not in text)
            | st.booleans()
            | st.integers(),
        ),
        "secrets": st.dictionaries(
            ENV_NAME,
            st.fixed_dictionaries({"sha256": DIGEST, "source": st.just("/run/x")}),
            max_size=2,
        ),
        "network": st.just("net.1"),
        "retain": st.integers(1, 50),
        "verify": st.sampled_from(["off", False]),
        "verify_keys": st.lists(st.just(PUBLIC_KEY), max_size=2),
    },
)


def test_an_unquoted_off_is_off_and_required_needs_a_key() -> None:
    assert spec(verify=False).verify == "off"
    required = spec(verify="required", verify_keys=[PUBLIC_KEY])
    assert (required.verify, required.verify_keys) == ("required", (PUBLIC_KEY,))
    assert parse_spec(to_mapping(required)) == required


def with_balancers(value: dict[str, Any]) -> dict[str, Any]:
    refs = [{"process": name, "socket": "/s", "backend": name} for name in value["processes"]]
    return {**value, "load_balancers": refs}


def spec(**options: object) -> AppSpec:
    return parse_spec(mapping(**options))


@given(SPECS.map(with_balancers))
def test_round_trip(value: dict[str, Any]) -> None:
    parsed = parse_spec(value)
    again = parse_spec(to_mapping(parsed))
    assert again == parsed
    assert release_id(again, IMAGE_ID) == release_id(parsed, IMAGE_ID)


@given(SPECS.map(with_balancers))
def test_round_trip_through_json(value: dict[str, Any]) -> None:
    parsed = parse_spec(value)
    assert parse_spec(json.loads(json.dumps(to_mapping(parsed)))) == parsed


def test_defaults() -> None:
    parsed = spec()
    web = parsed.process("web")
    assert web is not None
    assert (web.replicas, web.port, web.command, web.warm_up) == (2, 8080, (), WarmUp())
    assert (web.readiness, web.drain, web.stop, web.limits) == (
        Readiness(),
        Drain(),
        Stop(),
        Limits(),
    )
    assert (web.max_surge, web.max_unavailable) == (1, 0)
    assert (parsed.strategy, parsed.network, parsed.retain) == (Strategy(), "cutover", 3)
    assert (parsed.verify, parsed.verify_keys) == ("off", ())
    assert parsed.process("worker") is None


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, 1, 0, (1, 0)),
        (4, "25%", 0, (1, 0)),
        (4, "26%", 0, (2, 0)),
        (3, "1%", "99%", (1, 2)),
        (7, 0, "15%", (0, 1)),
        (16, "100%", "100%", (16, 16)),
        (100, "7%", "7%", (7, 7)),
        (1, 3, 5, (3, 5)),
    ],
)
def test_shares_round_towards_capacity(
    replicas: int, surge: object, unavailable: object, expected: tuple[int, int]
) -> None:
    value = with_option("processes/web/replicas", replicas)
    value["strategy"] = {"max_surge": surge, "max_unavailable": unavailable}
    web = parse_spec(value).processes[0]
    assert (web.max_surge, web.max_unavailable) == expected


def test_env_values_become_text() -> None:
    parsed = spec(env={"B": True, "A": 5, "C": 1.5, "D": "x\ny", "E": ""})
    assert parsed.env == (("A", "5"), ("B", "true"), ("C", "1.5"), ("D", "x\ny"), ("E", ""))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("env", {"LOG_LEVEL": "debug"}),
        ("network", "other"),
        ("secrets", {"DB": {"sha256": "0" * 64, "source": "/a"}}),
        ("processes/web/port", 8081),
        ("processes/web/command", ["serve"]),
        ("processes/web/resources", {"memory": "512m"}),
        ("processes/web/resources", {"cpus": 0.5}),
        ("processes/web/resources", {"pids": 64}),
        ("processes/web/stop", {"signal": "SIGINT"}),
    ],
)
def test_what_a_container_is_made_of_makes_another_release(option: str, value: object) -> None:
    assert release_id(parse_spec(with_option(option, value)), IMAGE_ID) != release_id(
        spec(), IMAGE_ID
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("processes/web/replicas", 5),
        ("processes/web/readiness", {"path": "/other"}),
        ("processes/web/drain", {"timeout": 5}),
        ("processes/web/stop", {"grace_period": 5}),
        ("strategy", {"max_surge": 2}),
        ("retain", 5),
        ("verify_keys", [PUBLIC_KEY]),
        ("version", "9"),
    ],
)
def test_how_it_is_rolled_out_does_not_make_another_release(option: str, value: object) -> None:
    assert release_id(parse_spec(with_option(option, value)), IMAGE_ID) == release_id(
        spec(), IMAGE_ID
    )


def test_a_secret_counts_by_its_digest_and_not_by_its_place() -> None:
    def identify(sha256: str, source: str) -> str:
        return release_id(spec(secrets={"DB": {"sha256": sha256, "source": source}}), IMAGE_ID)

    assert identify("0" * 64, "/a") == identify("0" * 64, "/b")
    assert identify("0" * 64, "/a") != identify("1" * 64, "/a")


def test_the_image_makes_another_release() -> None:
    assert release_id(spec(), IMAGE_ID) != release_id(spec(), OTHER_IMAGE_ID)
    assert release_id(replace(spec(), image="other"), IMAGE_ID) == release_id(spec(), IMAGE_ID)


def test_load_balancers_belong_to_the_only_process_or_to_web() -> None:
    only = spec(processes={"api": {"port": 1}})
    assert [ref.process for ref in only.load_balancers] == ["api"]
    assert dict(only.load_balancers[0].options)["backend"] == "shop"
    two = spec(
        processes={"api": {"port": 1}, "web": {"port": 2}},
        load_balancers=[{"socket": "/a"}, {"process": "api", "socket": "/b"}],
    )
    assert [(ref.process, dict(ref.options)) for ref in two.load_balancers] == [
        ("web", {"socket": "/a"}),
        ("api", {"socket": "/b"}),
    ]
