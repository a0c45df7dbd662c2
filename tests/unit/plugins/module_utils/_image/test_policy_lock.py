# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of rule P3: what is in the image is what the locks say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import policy_lock as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import (
    DebLock,
    FileLock,
    Lock,
    WheelLock,
    recipe_hash,
)

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
        ImageUnderCheck,
    )
    from tests.unit.plugins.module_utils._image.conftest import Craft, Member

SITE = "opt/app/site-packages"
STATUS = "Package: {0}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {1}\n\n"
APP = b"a = 1\n"
FILE = FileLock("/app/a.py", "0644", hashlib.sha256(APP).hexdigest())
WHEEL = WheelLock("my-pkg", "1.0", "my_pkg-1.0-py3-none-any.whl", "0" * 64)
DEB = DebLock("libc6", "2.36-9", "amd64", "pool/x", 1, "0" * 64)


def wheel(
    craft: Craft, name: str = "My_Pkg", version: str = "1.0", extra: str = ""
) -> list[Member]:
    """Return an unpacked wheel with a module, as the wheel layer writes it."""
    folder = f"{SITE}/{name}-{version}.dist-info"
    relative = folder.rpartition("/")[2]
    rows = ["pkg.py,,", f"{relative}/METADATA,,", f"{relative}/RECORD,,", extra]
    return [
        craft.file(f"{SITE}/pkg.py", b"x = 1\n"),
        craft.file(f"{folder}/METADATA", f"Name: {name}\nVersion: {version}\n".encode()),
        craft.file(f"{folder}/RECORD", "\n".join(rows).encode()),
    ]


def app(
    craft: Craft,
    own: list[Member],
    locked: dict[str, t.Any],
    status: str,
    links: t.Sequence[Member] = (),
) -> ImageUnderCheck:
    """Return an app whose base has one locked package, and these links."""
    base = [*links, craft.file("var/lib/dpkg/status", status.encode())]
    plain = craft.app([base], [own])
    assert plain.baked is not None and plain.baked.lock is not None
    lock = dataclasses.replace(plain.baked.lock, **locked)
    base_lock = Lock("", 0, "amd64", apt=(DEB,))
    return craft.app([base], [own], locked=lock, base_lock=base_lock)


def failures(
    craft: Craft,
    own: list[Member] | None = None,
    status: str = STATUS.format("libc6", "2.36-9"),
    links: t.Sequence[Member] = (),
    **locked: t.Any,
) -> list[str]:
    """Return what P3 says of an app that should hold one wheel and one file."""
    members = [*wheel(craft), craft.file("app/a.py", APP)] if own is None else own
    wanted = {"python": (WHEEL,), "files": (FILE,), **locked}
    return craft.failures(app(craft, members, wanted, status, links), "P3")


def test_p3_exactly_what_was_locked(craft: Craft) -> None:
    assert failures(craft) == []


def test_p3_what_was_locked_is_looked_for_where_the_links_of_the_base_lead(craft: Craft) -> None:
    links = [craft.link("bin", "usr/bin"), craft.link("opt", "srv")]
    tool = dataclasses.replace(FILE, path="/bin/a.py")
    moved = [
        (info.replace(name=info.name.replace("opt/", "srv/")), data) for info, data in wheel(craft)
    ]
    own = [*moved, craft.file("usr/bin/a.py", APP)]
    assert failures(craft, own, links=links, files=(tool,)) == []
    other = [*moved, craft.file("usr/bin/a.py", b"other")]
    assert failures(craft, other, links=links, files=(tool,)) == [
        "file /bin/a.py is not the locked one"
    ]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (STATUS.format("libc6", "2.36-10"), "package libc6 is locked as 2.36-9 but is 2.36-10"),
        ("", "package libc6 2.36-9 is locked but not in the image"),
        (
            STATUS.format("libc6", "2.36-9") + STATUS.format("nc", "1"),
            "package nc 1 is in the image",
        ),
        (STATUS.replace("amd64", "i386").format("libc6", "2.36-9"), "package libc6 2.36-9 is"),
    ],
)
def test_p3_packages_differ(craft: Craft, status: str, found: str) -> None:
    seen = failures(craft, status=status)
    assert seen and seen[0].startswith(found), seen


def test_p3_wheels_differ(craft: Craft) -> None:
    file = craft.file("app/a.py", APP)
    newer = failures(craft, [*wheel(craft, version="1.1"), file])
    assert newer == ["wheel my-pkg is locked as 1.0 but is 1.1 in the image"]
    assert failures(craft, [file]) == ["wheel my-pkg 1.0 is locked but not in the image"]
    assert failures(craft, python=()) == ["wheel my-pkg 1.0 is in the image but in no lock"]


def test_p3_spelling_of_names_and_versions_does_not_matter(craft: Craft) -> None:
    wheels = wheel(craft, "my.pkg", "1.0.0rc1")
    spelt = dataclasses.replace(WHEEL, name="My__Pkg", version="1.0.0-RC.1")
    assert failures(craft, [*wheels, craft.file("app/a.py", APP)], python=(spelt,)) == []
    assert subject.normal_version("not a version") == "not a version"


def test_p3_a_distribution_within_another_is_locked_with_it(craft: Craft) -> None:
    inner = f"{SITE}/pkg/_vendor/six-1.0.dist-info/METADATA"
    vendored = craft.file(inner, b"Name: six\nVersion: 1.0\n")
    listed = wheel(craft, extra="pkg/_vendor/six-1.0.dist-info/METADATA,,")
    file = craft.file("app/a.py", APP)
    assert failures(craft, [*listed, file, vendored]) == []
    assert "wheel six 1.0 is in the image but in no lock" in failures(
        craft, [*wheel(craft), file, vendored]
    )


def test_p3_a_file_of_a_wheel_that_was_changed(craft: Craft) -> None:
    file = craft.file("app/a.py", APP)
    good, bad = (
        base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        for data in (b"x = 1\n", b"x = 2\n")
    )
    assert failures(craft, [*wheel(craft, extra=f"pkg.py,sha256={good},6"), file]) == []
    assert failures(craft, [*wheel(craft, extra=f"pkg.py,sha256={bad},6"), file]) == [
        f"/{SITE}/pkg.py is not what its wheel has"
    ]


def test_p3_files_differ(craft: Craft) -> None:
    def with_file(*files: Member) -> list[str]:
        return failures(craft, [*wheel(craft), *files])

    assert with_file() == ["file /app/a.py is locked but not in the image"]
    assert with_file(craft.file("app/a.py", b"b")) == ["file /app/a.py is not the locked one"]
    assert with_file(craft.file("app/a.py", APP, 0o755)) == [
        "file /app/a.py is locked with mode 0644 but has 0755"
    ]
    good = craft.file("app/a.py", APP)
    assert with_file(good, craft.file("app/b", b"x")) == ["/app/b comes from no lock"]
    assert with_file(good, craft.link("app/l", "a.py")) == [
        "/app/l is a link or a device that comes from no lock"
    ]
    assert with_file(good, craft.file("var/lib/dpkg/.wh.x")) == [
        "/var/lib/dpkg/x of its base is hidden by no lock"
    ]


def test_b42_a_lock_that_is_missing_stale_or_of_another_bake(craft: Craft) -> None:
    check = app(craft, [], {}, STATUS.format("libc6", "2.36-9"))
    assert check.baked is not None
    stale = dataclasses.replace(check.baked, lock_problems=("lock does not match files",))
    assert craft.failures(dataclasses.replace(check, baked=stale), "P3") == [
        "lock does not match files"
    ]
    missing = dataclasses.replace(stale, lock=None, lock_problems=("lock not found: x",))
    assert craft.failures(dataclasses.replace(check, baked=missing), "P3") == ["lock not found: x"]
    assert check.baked.lock is not None
    other = dataclasses.replace(check.baked, lock=dataclasses.replace(check.baked.lock, epoch=1))
    (found,) = craft.failures(dataclasses.replace(check, baked=other), "P3")
    assert found.startswith("it was baked from another lock")
    assert recipe_hash(check.baked.recipe, check.baked.lock) == check.baked.record.recipe_hash


def test_p3_a_foreign_image_has_no_lock(craft: Craft) -> None:
    status = craft.file("var/lib/dpkg/status", STATUS.format("a", "1").encode())
    assert craft.failures(craft.foreign([status]), "P3") == [
        "no lock: 1 packages and 0 Python distributions in it are compared with nothing"
    ]


def test_p3_python_from_debian_is_locked_as_a_package(craft: Craft) -> None:
    path = "usr/lib/python3/dist-packages/yaml-6.0.dist-info/METADATA"
    layer = [
        craft.file(path, b"Name: yaml\nVersion: 6.0\n"),
        craft.file("var/lib/dpkg/info/python3-yaml.list", f"/{path}\n".encode()),
    ]
    assert craft.failures(craft.base(layer), "P3") == []
    assert craft.failures(craft.base(layer[:1]), "P3") == [
        "wheel yaml 6.0 is in the image but in no lock"
    ]
