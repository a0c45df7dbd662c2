# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the rules about apps: P8 and P9."""

from __future__ import annotations

import hashlib
import typing as t

import pytest

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Craft

SITE = "opt/app/site-packages"
META = b"Name: pkg\nVersion: 1.0\n"


def test_p8_our_wheels_and_files_are_fine(craft: Craft) -> None:
    own = [
        craft.file(f"{SITE}/pkg-1.0.dist-info/METADATA", META),
        craft.file(f"{SITE}/pkg-1.0.dist-info/INSTALLER", b"immutable.cutover\n"),
        craft.file(f"{SITE}/pkg/_vendor/six-1.dist-info/METADATA", b"Name: six\nVersion: 1\n"),
        craft.file("app/x.py"),
    ]
    base = [[craft.file("var/lib/dpkg/status", b""), craft.file("usr/lib/y-1.dist-info/METADATA")]]
    history = ["RUN apt-get install x"]
    check = craft.app(base, [own], base_history=history, history=[*history, "immutable.cutover"])
    assert craft.failures(check, "P8") == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("var/lib/dpkg/status", "is the state of a package manager"),
        ("var/lib/dpkg/.wh.status", "is the state of a package manager"),
        ("lib/apk/db/installed", "is the state of a package manager"),
        ("var/cache/apt/pkgcache.bin", "was left by a package manager"),
        ("root/.cache/pip/http/x", "was left by a package manager"),
        ("usr/lib/python3/dist-packages/x-1.dist-info/METADATA", "is not in the wheels layer"),
        (f"{SITE}/x-1.dist-info/METADATA", "was installed by nobody, not by the bake"),
    ],
)
def test_p8_traces_in_an_app(craft: Craft, path: str, found: str) -> None:
    base = [[craft.file("var/lib/dpkg/status", b"x")]]
    seen = craft.failures(craft.app(base, [[craft.file(path, META)]]), "P8")
    assert len(seen) == 1 and found in seen[0], seen
    assert craft.failures(craft.app([[craft.file("a"), craft.file(path, META)]], []), "P8") == []


def test_p8_pip_in_an_app(craft: Craft) -> None:
    own = [
        craft.file(f"{SITE}/x-1.dist-info/METADATA", META),
        craft.file(f"{SITE}/x-1.dist-info/INSTALLER", b"pip\n"),
    ]
    (found,) = craft.failures(craft.app([], [own]), "P8")
    assert found == f"/{SITE}/x-1.dist-info was installed by pip, not by the bake"
    check = craft.app([], [[craft.file("a")]], history=["RUN pip install --user x"])
    assert craft.failures(check, "P8") == ["a history step ran a package manager: pip install"]


@pytest.mark.parametrize(
    ("command", "tool"),
    [
        ("/bin/sh -c apt-get update && apt-get install -y x", "apt-get update"),
        ("RUN apt-get -y --no-install-recommends install x", "apt-get -y --no-install-rec"),
        ("RUN apk add curl", "apk add"),
        ("RUN python3 -m pip install x", "pip install"),
        ("RUN npm ci", "npm ci"),
        ("RUN dpkg -i x.deb", "dpkg -i"),
        ("RUN ./configure && make install", ""),
        ("COPY apt /etc/apt", ""),
    ],
)
def test_p8_the_history_of_a_foreign_image(craft: Craft, command: str, tool: str) -> None:
    seen = craft.failures(craft.foreign([craft.file("a")], history=[command]), "P8")
    assert len(seen) == bool(tool)
    assert all(f"history step 1 ran a package manager: {tool}" in one for one in seen), seen


def test_p8_a_base_may_use_one(craft: Craft) -> None:
    check = craft.base([craft.file("var/lib/dpkg/status", b"")], history=["RUN apt-get install x"])
    assert craft.failures(check, "P8") == []


@pytest.mark.parametrize(
    "path", ["var/log/app/x", "app/server.log", "srv/a.log.1", "srv/a.log.2.gz"]
)
def test_p9_a_log_file(craft: Craft, path: str) -> None:
    assert craft.failures(craft.app([], [[craft.file(path, b"x")]]), "P9") == [
        f"/{path} is a log file"
    ]
    assert craft.failures(craft.app([], [[craft.file(path)]]), "P9") == []
    link = [[craft.link(path, "/dev/stdout")]]
    assert craft.failures(craft.app([], link), "P9") == []
    # What the base has is the base's own matter.
    assert craft.failures(craft.app([[craft.file(path, b"x")]], [[craft.file("y")]]), "P9") == []
    assert craft.failures(craft.base([craft.file(path, b"x")]), "P9")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app/logging.conf", "[handler_f]\nclass=handlers.RotatingFileHandler\n"),
        ("app/logging.yml", "handlers:\n  f:\n    class: logging.FileHandler\n"),
        ("etc/nginx/nginx.conf", "http {\n  access_log /srv/logs/access combined;\n}\n"),
        ("etc/nginx/nginx.conf", "error_log /var/log/nginx/error.log warn;\n"),
        ("app/app.ini", "logfile = /data/app.txt\n"),
        ("app/app.json", '{"log_file": "/data/out"}'),
        ("app/gunicorn.toml", "target = '/srv/x.log'\n"),
        ("app/log4j2.xml", "<RollingFileAppender/>"),
        ("app/log.py", "h = logging.handlers.TimedRotatingFileHandler('x')\n"),
        ("app/log.py", "h = FileHandler('x')\n"),
    ],
)
def test_p9_configuration_that_logs_to_a_file(craft: Craft, path: str, text: str) -> None:
    check = craft.app([], [[craft.file(path, text.encode())]])
    (found,) = craft.failures(check, "P9")
    assert found.startswith(f"/{path} logs to a file: ")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/nginx/nginx.conf", "access_log /dev/stdout;\nerror_log /dev/stderr info;\n"),
        ("etc/nginx/nginx.conf", "# access_log /var/log/nginx/access.log;\naccess_log off;\n"),
        ("app/logging.yml", "handlers: {s: {class: logging.StreamHandler}}\n"),
        ("app/haproxy.cfg", "log /dev/log local0\nlog stdout format raw\n"),
        ("app/log.py", "# FileHandler('x')\nh = logging.StreamHandler()\n"),
        ("app/net.py", "class MyFileHandlers:\n    pass\n"),
        (f"{SITE}/uvicorn/log.py", "h = logging.FileHandler('x')\n"),
        ("app/README.md", "see /var/log/app.log\n"),
    ],
)
def test_p9_configuration_that_does_not(craft: Craft, path: str, text: str) -> None:
    assert craft.failures(craft.app([], [[craft.file(path, text.encode())]]), "P9") == []


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"Cmd": ["gunicorn", "--access-logfile", "-"]}, ""),
        ({"Cmd": ["gunicorn", "--access-logfile", "/dev/stdout"]}, ""),
        ({"Cmd": ["gunicorn", "--access-logfile", "/srv/access"]}, "its command logs to a file"),
        ({"Entrypoint": ["x", "--out=/tmp/x.log"]}, "its command logs to a file: /tmp/x.log"),
        ({"Env": ["LOG_FILE=/srv/x"]}, "environment variable LOG_FILE names a log file: /srv/x"),
        ({"Env": ["LOG_LEVEL=info"]}, ""),
    ],
)
def test_p9_commands_and_environment(craft: Craft, config: dict[str, t.Any], found: str) -> None:
    seen = craft.failures(craft.foreign([craft.file("a")], **config), "P9")
    assert len(seen) == bool(found)
    assert all(one.startswith(found) for one in seen), seen


def test_p9_the_distributions_own_configuration_is_not_judged(craft: Craft) -> None:
    text = b"access_log /var/log/nginx/access.log;\n"
    digest = hashlib.md5(text).hexdigest()
    layer = [
        craft.file("etc/nginx.conf", text),
        craft.file("var/lib/dpkg/info/nginx.md5sums", f"{digest}  etc/nginx.conf\n".encode()),
    ]
    assert craft.failures(craft.base(layer), "P9") == []
    changed = [*layer, craft.file("etc/nginx.conf", text + b"\n")]
    assert craft.failures(craft.base(changed), "P9") == [
        "/etc/nginx.conf logs to a file: /var/log/nginx/access.log"
    ]
