# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""The steps of a canary as a user writes them, and what is refused (B20, B21, B25, SE-16)."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._release.analysis import Analysis
from ansible_collections.immutable.cutover.plugins.module_utils._release.canary_spec import (
    CanaryStep,
    parse_analysis,
    parse_steps,
    steps_mapping,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.source_url import (
    parse_source_url,
)


def parsed(steps: Any, defaults: Analysis | None = None) -> tuple[CanaryStep, ...]:
    return parse_steps(Fields({"steps": steps}, "strategy"), defaults or Analysis())


def test_steps_are_read_and_written_back() -> None:
    steps = parsed(
        [
            {"weight": 5},
            {"pause": 60},
            {"weight": 25},
            {"pause": {}},
            {"pause": {"duration": 30}},
            {"analysis": {"duration": 10, "min_requests": 7}},
        ],
        Analysis(max_error_rate=3),
    )
    assert [(step.kind, step.weight, step.seconds) for step in steps] == [
        ("weight", 5, 0),
        ("pause", 0, 60),
        ("weight", 25, 0),
        ("pause", 0, 0),
        ("pause", 0, 30),
        ("analysis", 0, 10),
    ]
    asked = steps[-1].analysis
    assert asked is not None and (asked.max_error_rate, asked.min_requests) == (3.0, 7)
    assert parsed(steps_mapping(steps)) == steps


BAD = [
    ("B20-none", [], "strategy.steps: needs at least one step"),
    ("B20-zero", [{"weight": 5}, {"weight": 0}], "strategy.steps[1].weight: canary weights must increase within 0-99, this one above 5, found 0"),
    ("B20-zero-analysis", [{"weight": 0}, {"analysis": {}}], "strategy.steps[1]: needs a weight above 0 before it"),
    ("B20-negative", [{"weight": -1}], "strategy.steps[0].weight: canary weights must increase within 0-99"),
    ("B20-all", [{"weight": 100}], "strategy.steps[0].weight: canary weights must increase within 0-99"),
    ("B20-101", [{"weight": 101}], "strategy.steps[0].weight: canary weights must increase within 0-99"),
    (
        "B20-text", [{"weight": "10"}],
        "strategy.steps[0].weight: canary weights must increase within 0-99 percent; all traffic is what comes after the last step, found string '10'",
    ),
    ("B20-true", [{"weight": True}], "strategy.steps[0].weight"),
    ("B20-same", [{"weight": 10}, {"weight": 10}], "strategy.steps[1].weight: canary weights must increase within 0-99, this one above 10, found 10"),
    ("B20-down", [{"weight": 10}, {"pause": 1}, {"weight": 5}], "strategy.steps[2].weight"),
    ("B20-first", [{"pause": 10}, {"weight": 10}], "strategy.steps[0]: must be a weight"),
    ("B20-many", [{"pause": 1}] * 51, "strategy.steps: must have at most 50 steps"),
    ("B20-list", {"weight": 1}, "strategy.steps: must be a list"),
    ("two-words", [{"weight": 10, "pause": 5}], "strategy.steps[0]: must be one of weight"),
    ("no-word", [10], "strategy.steps[0]: must be one of weight"),
    ("B05-unknown", [{"weigth": 10}], "strategy.steps[0]: must be one of weight"),
    ("B21-pause-0", [{"weight": 1}, {"pause": 0}], "strategy.steps[1].pause: must be a duration in whole seconds, 1-86400, or {} to wait for promote, found 0"),
    ("B21-pause-text", [{"weight": 1}, {"pause": "60s"}], "strategy.steps[1].pause"),
    ("B21-pause-nothing", [{"weight": 1}, {"pause": None}], "strategy.steps[1].pause"),
    ("B05-pause", [{"weight": 1}, {"pause": {"duraton": 5}}], "strategy.steps[1].pause.duraton: is an unknown option"),
    (
        "B05-analysis", [{"weight": 1}, {"analysis": {"max_errors": 5}}],
        "strategy.steps[1].analysis.max_errors: is an unknown option; did you mean max_error_rate?",
    ),
    ("rate", [{"weight": 1}, {"analysis": {"max_error_rate": 101}}], "strategy.steps[1].analysis.max_error_rate: must be a number 0-100"),
    ("sample", [{"weight": 1}, {"analysis": {"min_requests": 0}}], "strategy.steps[1].analysis.min_requests"),
    ("timeout", [{"weight": 1}, {"analysis": {"duration": 60, "timeout": 59}}], "strategy.steps[1].analysis.timeout: must be at least duration, 60, found 59"),
    ("word", [{"weight": 1}, {"analysis": {"inconclusive": "pass"}}], "strategy.steps[1].analysis.inconclusive: must be one of fail, hold"),
    ("no-condition", [{"weight": 1}, {"analysis": {"url": "http://m/"}}], "strategy.steps[1].analysis.success_condition: needs a JMESPath expression"),
    ("no-url", [{"weight": 1}, {"analysis": {"success_condition": "a"}}], "strategy.steps[1].analysis.url: is required"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "message"), [pytest.param(*row[1:], id=row[0]) for row in BAD])
def test_bad_input(steps: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parsed(steps)
    assert refused.value.message.startswith(message)


def test_a_longer_duration_makes_the_default_timeout_longer() -> None:
    assert parse_analysis(Fields({"duration": 900}, "a"), Analysis()).timeout == 900


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://metrics.example:9090/api?query=up", "http://metrics.example:9090/api"),
        ("https://metrics.example", "https://metrics.example:443/"),
        ("http://[2001:db8::7]:9090/", "http://[2001:db8::7]:9090/"),
        ("http://127.0.0.1/x", "http://127.0.0.1:80/x"),
    ],
)
def test_se_16_a_source_is_named_without_its_query(url: str, shown: str) -> None:
    assert str(parse_source_url(url, "url")) == shown


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://m/", "scheme must be http or https"),
        ("file:///etc/passwd", "must be a URL"),
        ("gopher://m:70/1", "scheme must be http or https"),
        ("metrics.example/x", "must be a URL"),
        ("http://", "must be a URL"),
        ("http://m:99999/", "must be a URL"),
        ("http://m/ x", "must be a URL"),
        ("http://m/\r\nHost: x", "must be a URL"),
        ("http://user:pass@m/", "must not have credentials in it"),
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://[fd00:ec2::254]/", "link-local"),
        ("http://0.0.0.0/", "link-local"),
        ("http://metadata.google.internal/", "host must be one"),
        ("http://m_~x/", "host must be one"),
    ],
)
def test_se_16_b25_b26_what_is_not_asked(url: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        parse_source_url(url, "analysis.url")
    assert "pass@" not in refused.value.message
