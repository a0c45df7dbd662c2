# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the policy part of a recipe: what is read, and what is refused with which words."""

from __future__ import annotations

import datetime
import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    recipe_policy as subject,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    load_recipe,
    recipe_checksum,
)

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import World

WAIVER: dict[str, t.Any] = {"rule": "P5", "reason": "needed by cron", "expires": "2027-01-01"}
DAY = datetime.date(2027, 1, 1)


def test_a_policy_is_read() -> None:
    policy = subject.parse_policy(
        {
            "max_size": "64m",
            "max_layers": 5,
            "licences": {"deny": ["AGPL-*"]},
            "waivers": [
                WAIVER,
                {**WAIVER, "rule": "P6", "sha256": "a" * 64, "path": "/x/*", "expires": DAY},
            ],
        },
        "policy",
        "bake.yml",
    )
    assert (policy.max_size, policy.max_layers) == (64 << 20, 5)
    assert policy.denied_licences == ("AGPL-*",)
    assert policy.waivers == (
        subject.Waiver("P5", "needed by cron", DAY),
        subject.Waiver("P6", "needed by cron", DAY, "/x/*", "a" * 64),
    )
    assert subject.parse_policy({"max_size": 1000}, "policy", "x").max_size == 1000


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        pytest.param([], "policy: must be a mapping, found list", id="list"),
        pytest.param(
            {"waiver": []}, "policy.waiver: unknown option; did you mean waivers?", id="B05"
        ),
        pytest.param({"max_size": "0"}, "policy.max_size: must be a number of bytes", id="size"),
        pytest.param(
            {"max_size": True}, "policy.max_size: must be a number of bytes", id="size-bool"
        ),
        pytest.param(
            {"max_size": "1t"}, "policy.max_size: must be a number of bytes", id="size-unit"
        ),
        pytest.param({"max_layers": 0}, "policy.max_layers: must be an integer 1-127", id="layers"),
        pytest.param(
            {"licences": {"deny": "GPL"}}, "policy.licences.deny: must be a list", id="deny"
        ),
        pytest.param({"licences": {"allow": []}}, "policy.licences.allow: unknown", id="licences"),
        pytest.param({"waivers": {}}, "policy.waivers: must be a list of", id="waivers"),
        pytest.param(
            {"waivers": [{**WAIVER, "rule": "P14"}]},
            "policy.waivers[0].rule: must be one of P1,",
            id="rule",
        ),
        pytest.param(
            {"waivers": [{"rule": "P5", "expires": DAY}]},
            "policy.waivers[0].reason: is required",
            id="no-reason",
        ),
        pytest.param(
            {"waivers": [{**WAIVER, "reason": ""}]},
            "reason: must say why in one line",
            id="empty-reason",
        ),
        pytest.param(
            {"waivers": [{"rule": "P5", "reason": "x"}]},
            "policy.waivers[0].expires: is required, as 2027-01-01",
            id="no-expiry",
        ),
        pytest.param(
            {"waivers": [{**WAIVER, "expires": "never"}]},
            "expires: must be a date like",
            id="never",
        ),
        pytest.param(
            {"waivers": [{**WAIVER, "expires": "2027-02-30"}]}, "expires: must be a date", id="day"
        ),
        pytest.param(
            {"waivers": [{**WAIVER, "path": "x"}]}, "path: must be an absolute path", id="path"
        ),
        pytest.param(
            {"waivers": [{**WAIVER, "rule": "P6"}]},
            "sha256: is required: a waiver of P6 names the file by its content",
            id="P6-by-content",
        ),
        pytest.param(
            {"waivers": [{**WAIVER, "sha256": "A" * 64}]}, "must be 64 lower-case hex", id="sha"
        ),
    ],
)
def test_mistakes_are_refused(policy: object, says: str) -> None:
    with pytest.raises(CutoverError) as error:
        subject.parse_policy(policy, "policy", "bake.yml")
    assert says in error.value.message, error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("waiver", "covers"),
    [
        (subject.Waiver("P5", "x", DAY), True),
        (subject.Waiver("P7", "x", DAY), False),
        (subject.Waiver("P5", "x", DAY, "/a/b"), True),
        (subject.Waiver("P5", "x", DAY, "/a/*"), True),
        (subject.Waiver("P5", "x", DAY, "/a"), False),
        (subject.Waiver("P5", "x", DAY, "", "1" * 64), True),
        (subject.Waiver("P5", "x", DAY, "/a/b", "2" * 64), False),
    ],
)
def test_a_waiver_covers_what_it_names(waiver: subject.Waiver, covers: bool) -> None:
    assert waiver.covers("P5", "/a/b", "1" * 64) is covers


def test_a_waiver_counts_to_the_end_of_its_last_day() -> None:
    waiver = subject.Waiver("P5", "x", DAY)
    assert not waiver.expired(DAY)
    assert waiver.expired(DAY + datetime.timedelta(1))


def test_the_policy_is_no_part_of_what_is_baked(world: World) -> None:
    path = pathlib.Path(world.recipe)
    first = world.bake()
    plain = load_recipe(world.recipe)
    data = yaml.safe_load(path.read_text())
    data["policy"] = {"waivers": [{**WAIVER, "expires": DAY}], "max_layers": 9}
    path.write_text(yaml.safe_dump(data))
    changed = load_recipe(world.recipe)
    assert changed.policy.max_layers == 9
    assert recipe_checksum(changed) == recipe_checksum(plain)
    again = world.bake()
    assert (again.changed, again.recipe_hash) == (False, first.recipe_hash)
