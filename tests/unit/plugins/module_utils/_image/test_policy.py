# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the table of rules and of waivers."""

from __future__ import annotations

import hashlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import policy as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe_policy import RULE_IDS

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import Finding
    from tests.unit.plugins.module_utils._image.conftest import Craft

SETUID = "#!setuid"
AWS = b"AKIA" + b"QWERTYUIOPASDF12"
# Today is 2026-06-15 in these tests.
WAIVER = {"rule": "P5", "reason": "cron needs it", "expires": "2026-06-15"}


def findings(craft: Craft, *waivers: dict[str, str], rule: str = "P5") -> list[Finding]:
    """Return the findings of one rule on an image with a setuid file and a secret."""
    layer = [craft.file("usr/bin/x", SETUID.encode(), 0o4755), craft.file("etc/key", AWS)]
    check = craft.foreign(layer, policy={"waivers": list(waivers)})
    return [found for found in subject.judge(check) if found.rule == rule]


def test_every_rule_is_there_and_twelve_factor_rules_say_which() -> None:
    assert tuple(rule.id for rule in subject.RULES) == RULE_IDS
    factors = {rule.id: rule.factor for rule in subject.RULES if rule.factor}
    assert factors == {
        "P1": "II Dependencies",
        "P2": "V Build, release, run",
        "P3": "II Dependencies",
        "P6": "III Config",
        "P7": "III Config",
        "P8": "V Build, release, run",
        "P9": "XI Logs",
        "P12": "III Config",
        "P13": "III Config",
    }


def test_without_a_waiver_it_fails(craft: Craft) -> None:
    (found,) = findings(craft)
    assert (found.level, found.fails, found.path) == ("failure", True, "/usr/bin/x")
    assert found.sha256 == hashlib.sha256(SETUID.encode()).hexdigest()


@pytest.mark.parametrize(
    "narrow",
    [
        {},
        {"path": "/usr/bin/x"},
        {"path": "/usr/*"},
        {"sha256": hashlib.sha256(SETUID.encode()).hexdigest()},
    ],
)
def test_a_waiver_covers_its_finding(craft: Craft, narrow: dict[str, str]) -> None:
    (found,) = findings(craft, {**WAIVER, **narrow})
    assert (found.level, found.fails) == ("waived", False)
    assert found.to_mapping()["waived_by"] == {"reason": "cron needs it", "expires": "2026-06-15"}


@pytest.mark.parametrize("narrow", [{"path": "/bin/x"}, {"sha256": "0" * 64}, {"rule": "P9"}])
def test_a_waiver_of_something_else_is_only_a_note(craft: Craft, narrow: dict[str, str]) -> None:
    waiver = {**WAIVER, **narrow}
    assert [found.fails for found in findings(craft, waiver)][:1] == [True]
    (note,) = [f for f in findings(craft, waiver, rule=waiver["rule"]) if f.note]
    assert "matches nothing (cron needs it); remove it" in note.what
    assert note.level == "note"


def test_an_expired_waiver_is_a_failure_that_says_so(craft: Craft) -> None:
    (found,) = findings(craft, {**WAIVER, "expires": "2026-06-14"})
    assert found.fails
    assert found.what.endswith("; its waiver expired on 2026-06-14 (cron needs it)")
    assert found.to_mapping()["waived_by"] == {}
    (renewed,) = findings(craft, {**WAIVER, "expires": "2026-06-14"}, WAIVER)
    assert not renewed.fails


def test_a_secret_is_waived_by_its_content(craft: Craft) -> None:
    digest = hashlib.sha256(AWS).hexdigest()
    (found,) = findings(craft, {**WAIVER, "rule": "P6", "sha256": digest}, rule="P6")
    assert found.level == "waived"
    (other, _note) = findings(craft, {**WAIVER, "rule": "P6", "sha256": "0" * 64}, rule="P6")
    assert other.fails


def test_the_line_says_rule_factor_what_and_how_to_waive(craft: Craft) -> None:
    (found,) = findings(craft)
    assert subject.failure_line("shop:1", found) == (
        "P5 shop:1: /usr/bin/x is setuid (mode 4755); to waive: policy.waivers: "
        "[{rule: P5, path: /usr/bin/x, reason: ..., expires: YYYY-MM-DD}]"
    )
    (secret,) = findings(craft, rule="P6")
    line = subject.failure_line("shop:1", secret)
    assert line.startswith("P6 (factor III Config) shop:1: /etc/key line 1: an AWS access key;")
    assert f"sha256: {hashlib.sha256(AWS).hexdigest()}" in line
    assert AWS.decode() not in line
