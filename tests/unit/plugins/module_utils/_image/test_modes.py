# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of file modes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._image import modes as subject


@pytest.mark.parametrize(
    ("text", "executable", "expected"),
    [
        ("u=rwX,go=rX", False, 0o644),
        ("u=rwX,go=rX", True, 0o755),
        ("u=rw,go=", True, 0o600),
        ("a=r", True, 0o444),
        ("a+x", False, 0o755),
        ("go-rx", True, 0o700),
        ("0640", True, 0o640),
        ("755", False, 0o755),
    ],
)
def test_apply(text: str, executable: bool, expected: int) -> None:
    assert subject.is_mode(text)
    assert subject.apply_mode(text, executable) == expected


def test_octal_folders_can_be_entered_by_who_reads_them() -> None:
    assert subject.apply_mode("0640", False, directory=True) == 0o750


@pytest.mark.parametrize("text", ["", "rwx", "u=rwz", "9999", "u=r,", "64"])
def test_not_a_mode(text: str) -> None:
    assert not subject.is_mode(text)


@given(st.text(alphabet="ugoa=+-rwxX,", max_size=12), st.booleans())
def test_every_accepted_mode_gives_permission_bits_only(text: str, executable: bool) -> None:
    if subject.is_mode(text):
        assert 0 <= subject.apply_mode(text, executable) <= 0o777
    else:
        with pytest.raises(ValueError, match="not a mode"):
            subject.apply_mode(text, executable)
