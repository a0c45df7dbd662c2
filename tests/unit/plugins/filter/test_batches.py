# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.immutable.cutover.plugins.filter.batches import FilterModule, batches


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, [1]),
        ("5", ["5"]),
        ("100%", ["100%"]),
        ([1, "25%"], [1, "25%"]),
    ],
)
def test_sizes(value: object, expected: list[object]) -> None:
    assert batches(value) == expected


# Ansible takes 0 and -1 for all hosts at once, the others end there with a stack trace or worse.
@pytest.mark.parametrize(
    "value", [0, -1, "0", "0%", "101%", "abc", "", "5 parsecs", 1.5, True, None, [], [1, "x"], {}]
)
def test_b19_what_is_no_size_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match=r"^cutover_serial: must be .*, found ") as caught:
        batches(value)
    assert "\n" not in str(caught.value)


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"batches": batches}
