# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of secrets of a build: read, staged, scrubbed, and looked for in what it made."""

from __future__ import annotations

import base64
import pathlib

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    build_secrets as subject,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    write_entries,
)

VALUE = b"canary-3f1b9a77\n"


def secrets(tmp_path: pathlib.Path, value: bytes = VALUE) -> subject.Secrets:
    """Return one secret."""
    (tmp_path / "token").write_bytes(value)
    return subject.read_secrets(["token"], {"token": str(tmp_path / "token")}, "shop/web:1.0.0")


def test_a_secret_is_staged_for_root_alone(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "hidden"
    folder.mkdir()
    staged = subject.stage_secrets(secrets(tmp_path), str(folder))
    path = pathlib.Path(staged["token"])
    assert path.read_bytes() == VALUE
    assert path.stat().st_mode & 0o777 == 0o400
    assert VALUE.decode().strip() not in repr(secrets(tmp_path))


def test_se_26_secrets_of_a_build_that_was_killed_are_removed_by_the_next(
    tmp_path: pathlib.Path,
) -> None:
    with subject.secrets_folder(str(tmp_path)) as alive:
        namespace, pid, _started = (pathlib.Path(alive) / ".owner").read_text().split(" ")
        for name, owner in (("dead", f"{namespace} {pid} 1"), ("other", f"elsewhere {pid} 1")):
            folder = tmp_path / f"immutable-cutover-secrets-{name}"
            folder.mkdir()
            (folder / ".owner").write_text(owner)
        with subject.secrets_folder(str(tmp_path)) as second:
            left = {path.name.rpartition("-")[2] for path in tmp_path.iterdir()}
            assert left == {"other", *(name.rpartition("-")[2] for name in (alive, second))}
            assert pathlib.Path(second).stat().st_mode & 0o777 == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["immutable-cutover-secrets-other"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"secrets\.token: shop/web:1\.0\.0 needs this secret: must name a file"),
        ({"token": 5}, "must name a file on this host, found 5"),
        ({"token": "/nonexistent/x"}, r"secrets\.token: cannot be read: No such file"),
    ],
    ids=["missing", "number", "absent"],
)
def test_refused(given: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        subject.read_secrets(["token"], given, "shop/web:1.0.0")


def test_se_10_a_value_too_short_to_be_found_again_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidInput, match="must be a file with 8-1048576 bytes") as caught:
        secrets(tmp_path, b"abcdefg\n")
    assert "abcdefg" not in caught.value.message


def test_se_06_said_values_are_scrubbed_whole_and_by_line(tmp_path: pathlib.Path) -> None:
    found = secrets(tmp_path, b"first-line\nsecond-line\n")
    said = "x first-line\nsecond-line y second-line z"
    scrubbed = found.scrub(said)
    assert "first-line" not in scrubbed and "second-line" not in scrubbed
    assert scrubbed.startswith("x ") and scrubbed.endswith(" z")


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(VALUE, id="whole"),
        pytest.param(b"key=" + VALUE.strip() + b";", id="within"),
        pytest.param(base64.b64encode(VALUE), id="base64"),
        pytest.param(base64.b64encode(VALUE.strip()), id="base64-stripped"),
    ],
)
def test_se_06_a_layer_with_a_secret_is_refused_and_removed(
    tmp_path: pathlib.Path, written: bytes
) -> None:
    found = secrets(tmp_path)
    entries = [
        Entry("/app/a", 0o644, b"x" * 600),
        Entry("/app/b", 0o644, written),
        Entry("/app/c", 0o644),
    ]
    layer = write_entries(entries, str(tmp_path / "layer.tar"), 1)
    with pytest.raises(
        CutoverError, match="secret token would be in the image, in /app/b"
    ) as caught:
        subject.refuse_secrets(found, layer.path, "shop/web:1.0.0")
    assert "canary" not in caught.value.message
    assert not pathlib.Path(layer.path).exists()


def test_a_layer_without_it_stays(tmp_path: pathlib.Path) -> None:
    layer = write_entries([Entry("/app/a", 0o644, b"x")], str(tmp_path / "layer.tar"), 1)
    subject.refuse_secrets(secrets(tmp_path), layer.path, "shop/web:1.0.0")
    subject.refuse_secrets(subject.Secrets(), layer.path, "shop/web:1.0.0")
    assert pathlib.Path(layer.path).exists()
