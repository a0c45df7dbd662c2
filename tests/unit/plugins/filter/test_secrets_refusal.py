# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.filter.secrets_refusal import (
    FilterModule,
    secrets_refusal,
)

NOT_SHOWN = "found something that is not shown"
NO_FILE = "must be a file on the controller that can be read"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A playbook's folder with a secret beside the playbook and one in files/, and a folder."""
    (tmp_path / "files" / "folder").mkdir(parents=True)
    (tmp_path / "beside").write_text("s3cret", encoding="utf-8")
    (tmp_path / "files" / "below").write_text("s3cret", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("file", ["beside", "below", "files/below", "{place}/beside"])
def test_what_ansible_finds_is_found(place: Path, file: str) -> None:
    secrets = {"TOKEN": {"file": file.format(place=place)}, "OTHER": {"file": "beside"}}
    assert secrets_refusal(secrets, ["/nonexistent/role", str(place)]) == ""


@pytest.mark.parametrize(
    ("secrets", "says"),
    [
        pytest.param(["x"], "release_secrets: must be a mapping, found list", id="B03-list"),
        pytest.param(
            {"TOKEN": "s3cret"},
            f"release_secrets.TOKEN: must be a mapping with file, a path on the controller, {NOT_SHOWN}",
            id="B37-inline",
        ),
        pytest.param(
            {"TOKEN": ["s3cret"]},
            f"release_secrets.TOKEN: must be a mapping with file, a path on the controller, {NOT_SHOWN}",
            id="B03-entry",
        ),
        pytest.param(
            {"TOKEN": {"file": "beside", "mode": "0444"}},
            "release_secrets.TOKEN.mode: is an unknown option; known: file, found string 'mode'",
            id="B05-mode",
        ),
        pytest.param(
            {"TOKEN": {"flie": "beside"}},
            f"release_secrets.TOKEN.file: {NO_FILE}, found nothing",
            id="B06-no-file",
        ),
        pytest.param(
            {"TOKEN": {"file": 5}},
            f"release_secrets.TOKEN.file: {NO_FILE}, {NOT_SHOWN}",
            id="B37-number",
        ),
        pytest.param(
            {"TOKEN": {"file": ""}},
            f"release_secrets.TOKEN.file: {NO_FILE}, {NOT_SHOWN}",
            id="B37-empty",
        ),
        pytest.param(
            {"TOKEN": {"file": "postgres://u:s3cret@db/x"}},
            f"release_secrets.TOKEN.file: {NO_FILE}, {NOT_SHOWN}",
            id="B37-in-place-of-a-file",
        ),
        pytest.param(
            {"TOKEN": {"file": "line\ns3cret\0"}},
            f"release_secrets.TOKEN.file: {NO_FILE}, {NOT_SHOWN}",
            id="B37-lines",
        ),
        pytest.param(
            {"TOKEN": {"file": "files/gone"}},
            f"release_secrets.TOKEN.file: {NO_FILE}, found string 'files/gone'",
            id="B01-gone",
        ),
        pytest.param(
            {"TOKEN": {"file": "files/folder"}},
            f"release_secrets.TOKEN.file: {NO_FILE}, found string 'files/folder'",
            id="B01-folder",
        ),
        pytest.param(
            {"A B": {"file": "beside"}},
            "release_secrets.A B: env name must match [A-Za-z_][A-Za-z0-9_]*, found string 'A B'",
            id="B35-name",
        ),
    ],
)
def test_what_is_no_file_is_refused_in_one_line(place: Path, secrets: object, says: str) -> None:
    told = secrets_refusal(secrets, [str(place)])
    assert told == says
    assert "s3cret" not in told and "\n" not in told


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"secrets_refusal": secrets_refusal}
