# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base of more than a hundred packages, whose scripts make users, links, caches, setuid files and capabilities."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._image import front
from tests.integration.pytest.build_kitchen import BASE_RECIPE, BuildKitchen

# Not one of them knows a random number that it keeps, as the host keys of openssh-server are.
PACKAGES = (
    *("ca-certificates", "cron", "curl", "iputils-ping", "libcap2-bin", "passwd"),
    *("python3", "rsync", "sudo", "xz-utils"),
)
SPECIAL = {
    "/usr/bin/crontab": "is setgid (mode 2755)",
    "/usr/bin/ping": "has a file capability",
    "/usr/bin/sudo": "is setuid (mode 4755)",
}
STEPS = [
    ["groupadd", "--gid", "10001", "app"],
    ["sh", "-c", "python3 --version > /etc/made-with; rsync --version >> /etc/made-with"],
]
# As another process sees it: another seed, time zone, umask and temporary folder.
AGAIN = """
import json, os, sys
from ansible_collections.immutable.cutover.plugins.module_utils._image import reproduce_front
os.umask(0o077)
print(json.dumps(reproduce_front.verify_images(json.loads(sys.argv[1]))))
"""


def waiver(path: str) -> dict[str, str]:
    """Return why a file may be what it is."""
    reason, expires = "what the package is there for", "2099-01-01"
    return {"rule": "P5", "path": path, "reason": reason, "expires": expires}


def recipe(kitchen: BuildKitchen) -> str:
    """Write the recipe of the base and return its path."""
    content = {
        **BASE_RECIPE,
        "name": "icmany/base",
        "apt": list(PACKAGES),
        "run": STEPS,
        "policy": {"waivers": [waiver(path) for path in SPECIAL]},
    }
    path = kitchen.root / "many/bake.yml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content))
    return str(path)


def verify_in_another_process(kitchen: BuildKitchen, path: str, folder: pathlib.Path) -> t.Any:
    """Bake again and compare, as far from this process as one on the same host is."""
    folder.mkdir()
    env = {
        **os.environ,
        "PYTHONHASHSEED": "4711",
        "TZ": "Pacific/Kiritimati",
        "TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, json.dumps(kitchen.params(path))],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["images"][0]


def test_a_base_of_more_than_a_hundred_packages_is_the_same_each_time(
    tmp_path: pathlib.Path,
) -> None:
    kitchen = BuildKitchen(tmp_path, "")
    path = recipe(kitchen)
    kitchen.lock(path)
    fetched = front.fetch_images(kitchen.params(path), check=False)
    locked = json.loads(pathlib.Path(path).with_suffix(".lock").read_text())["apt"]
    assert len(locked) > 100
    assert len(fetched["inputs"][0]["fetched"]) == len(locked)
    record = kitchen.record(path, fetch=False)
    assert [layer.purpose for layer in record.layers] == ["packages", "run"]
    assert kitchen.content(record, "etc/made-with").startswith("Python 3.")

    findings = kitchen.check(path)["images"][0]["findings"]
    special = {item["path"]: item for item in findings if item["path"] in SPECIAL}
    assert {name: item["what"] for name, item in special.items()} == {
        name: f"{name} {what}" for name, what in SPECIAL.items()
    }
    assert {item["level"] for item in findings} <= {"note", "waived"}, findings

    first = kitchen.verify(path)
    second = verify_in_another_process(kitchen, path, tmp_path / "elsewhere")
    for verified in (first, second):
        assert verified["same"], verified["difference"]
        assert verified["again"] == record.reference
