# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of rule P11: licences."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import policy
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    policy_licences as subject,
)

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
        ImageUnderCheck,
    )
    from tests.unit.plugins.module_utils._image.conftest import Craft

STATUS = b"Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"
COPYRIGHT = b"""Format: https://example.org/copyright-format/1.0/
Upstream-Name: tool
License: only-in-the-header

Files: *
Copyright: somebody
License: AGPL-3+
 The text.

Files: debian/*
Copyright: somebody
License: GPL-2+ or Artistic
"""


@pytest.mark.parametrize(
    ("expression", "patterns", "denied"),
    [
        ("MIT", [], False),
        ("MIT", ["GPL-*"], False),
        ("GPL-3+", ["GPL-*"], True),
        ("gpl-3.0-only", ["GPL-3*"], True),
        ("LGPL-2.1", ["GPL-*"], False),
        ("GPL-2+ or Artistic", ["GPL-*"], False),
        ("GPL-2+ or Artistic", ["GPL-*", "Artistic"], True),
        ("GPL-2+ and BSD-3-clause", ["GPL-*"], True),
        ("GPL-1+ or Artistic, and BSD-4-clause", ["GPL-*"], False),
        ("GPL-1+ or Artistic, and BSD-4-clause", ["BSD-4*"], True),
        ("(MIT OR AGPL-3.0-only) AND Apache-2.0", ["AGPL-*"], False),
        ("(MIT AND AGPL-3.0-only) OR Apache-2.0", ["AGPL-*"], False),
        ("MIT AND (AGPL-3.0-only OR GPL-3.0-only)", ["AGPL-*", "GPL-*"], True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ["GPL-2*"], True),
        ("BSD-3-clause and/or GPL-3+", ["GPL-*"], False),
        ("GNU Affero General Public License", ["*affero*"], True),
        (") and (", ["x"], False),
    ],
)
def test_an_allowed_alternative_is_enough(
    expression: str, patterns: list[str], denied: bool
) -> None:
    assert subject.denied(expression, patterns) is denied


def image(craft: Craft, deny: list[str], metadata: bytes = b"") -> ImageUnderCheck:
    """Return an image with a package and a wheel."""
    layer = [
        craft.file("var/lib/dpkg/status", STATUS),
        craft.file("usr/share/doc/real/copyright", COPYRIGHT),
        craft.link("usr/share/doc/tool", "real"),
        craft.file("x/w-1.dist-info/METADATA", b"Name: w\nVersion: 1\n" + metadata),
    ]
    return craft.foreign(layer, policy={"licences": {"deny": deny}})


def test_p11_a_denied_licence_of_a_package(craft: Craft) -> None:
    assert craft.failures(image(craft, []), "P11") == []
    assert craft.failures(image(craft, ["GPL-*", "only-in-the-header"]), "P11") == []
    assert craft.failures(image(craft, ["AGPL-*"]), "P11") == [
        "package tool is under AGPL-3+, which policy.licences.deny names"
    ]


@pytest.mark.parametrize(
    "metadata",
    [
        b"License-Expression: AGPL-3.0-only\nLicense: MIT\n",
        b"License: AGPL-3.0-only\n",
        b"License: UNKNOWN\nClassifier: License :: OSI Approved :: AGPL-3.0-only\n",
        b"License: " + b"the whole text " * 20 + b"\nClassifier: License :: AGPL-3.0-only\n",
    ],
)
def test_p11_a_denied_licence_of_a_wheel(craft: Craft, metadata: bytes) -> None:
    deny = ["AGPL-3.0-only"]
    (found,) = craft.failures(image(craft, deny, metadata), "P11")
    assert found.startswith("wheel w is under AGPL-3.0-only")
    assert craft.failures(image(craft, deny, b"License: MIT\n"), "P11") == []


def test_p11_no_declaration_is_a_note(craft: Craft) -> None:
    layer = [
        craft.file("var/lib/dpkg/status", STATUS),
        craft.file("usr/share/doc/tool/copyright", b"x"),
    ]
    check = craft.foreign(layer, policy={"licences": {"deny": ["*"]}})
    (found,) = [found for found in policy.judge(check) if found.rule == "P11"]
    assert (found.level, found.what) == ("note", "no machine-readable licence: package tool")
