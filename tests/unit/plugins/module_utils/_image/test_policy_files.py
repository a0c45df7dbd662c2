# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the rules about files: P5, P6, P7, P13."""

from __future__ import annotations

import base64
import hashlib
import typing as t

import pytest

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Craft, Member

AWS = b"key = AKIA" + b"QWERTYUIOPASDF12"
RANDOM = b"f8Kq2ZpL9vXw" + b"T4rBn7Yc"
CERT = b"-----BEGIN CERTIFICATE-----\nMIIB%s\n-----END CERTIFICATE-----\n"


def packaged(craft: Craft, *files: tuple[str, bytes], name: str = "pkg") -> list[Member]:
    """Return files that a Debian package brought."""
    info = f"var/lib/dpkg/info/{name}"
    sums = "".join(f"{hashlib.md5(data).hexdigest()}  {path}\n" for path, data in files)
    listed = "".join(f"/{path}\n" for path, _data in files)
    return [
        *[craft.file(path, data) for path, data in files],
        craft.file(f"{info}.md5sums", sums.encode()),
        craft.file(f"{info}.list", listed.encode()),
    ]


@pytest.mark.parametrize(
    ("path", "mode", "found"),
    [
        ("usr/bin/su", 0o4755, []),
        ("bin/mount", 0o4755, []),
        ("usr/sbin/unix_chkpwd", 0o2755, []),
        ("usr/bin/tool", 0o755, []),
        ("usr/bin/tool", 0o4755, ["/usr/bin/tool is setuid (mode 4755)"]),
        ("usr/bin/tool", 0o2755, ["/usr/bin/tool is setgid (mode 2755)"]),
        ("tmp/su", 0o4755, ["/tmp/su is setuid (mode 4755)"]),
    ],
)
def test_p5_a_base_has_what_debian_has(
    craft: Craft, path: str, mode: int, found: list[str]
) -> None:
    layer = [craft.file(path, b"#!", mode), craft.file("var/mail/x", type=b"5", mode=0o2775)]
    assert craft.failures(craft.base(layer), "P5") == found
    assert craft.failures(craft.foreign(layer), "P5") == found


def test_p5_a_capability_is_a_privilege(craft: Craft) -> None:
    capability = {"SCHILY.xattr.security.capability": "x"}
    layer = [craft.file("usr/bin/su", b"#!", pax_headers=capability)]
    assert craft.failures(craft.base(layer), "P5") == ["/usr/bin/su has a file capability"]


def test_p5_an_app_adds_none_to_its_base(craft: Craft) -> None:
    base = [[craft.file("usr/bin/special", b"#!", 0o4755), craft.file("usr/bin/su", b"#!", 0o4755)]]
    assert craft.failures(craft.app(base, [[craft.file("app/x")]]), "P5") == []
    own = [[craft.file("usr/bin/su", b"mine", 0o4755)]]
    assert craft.failures(craft.app(base, own), "P5") == [
        "/usr/bin/su is setuid (mode 4755), which its base does not have"
    ]


def test_p5_what_a_later_layer_hides_gives_nobody_a_privilege(craft: Craft) -> None:
    check = craft.foreign([craft.file("bin/x", b"#!", 0o4755)], [craft.file("bin/.wh.x")])
    assert craft.failures(check, "P5") == []


def test_p6_a_secret_is_found_in_every_layer_and_never_shown(craft: Craft) -> None:
    check = craft.foreign(
        [craft.file("a", b"\n" + AWS), craft.file("b", AWS), craft.file("c", b"fine")],
        [craft.file("b", b"clean"), craft.file(".wh.a")],
    )
    found = craft.failures(check, "P6")
    assert found == [
        "/a (hidden, but still in layer 1) line 2: an AWS access key",
        "/b (hidden, but still in layer 1) line 1: an AWS access key",
    ]


@pytest.mark.parametrize("text", [b'token = "' + RANDOM + b'"\n', AWS])
def test_p6_what_the_distribution_brought_unchanged_is_public(craft: Craft, text: bytes) -> None:
    assert craft.failures(craft.foreign(packaged(craft, ("etc/x.conf", text))), "P6") == []
    changed = [*packaged(craft, ("etc/x.conf", b"token =\n")), craft.file("etc/x.conf", text)]
    (found,) = craft.failures(craft.foreign(changed), "P6")
    assert found.startswith("/etc/x.conf line 1: ")


def test_p6_apps_share_the_scan_of_their_base(craft: Craft) -> None:
    base = [[craft.file("etc/x", AWS)]]
    first, second = craft.app(base, [[craft.file("a", b"1")]]), craft.app(base, [])
    assert craft.failures(first, "P6") == ["/etc/x line 1: an AWS access key"]
    second.scans.update(first.scans)
    key = next(key for key in second.scans if key[0] == second.image.layers[0].digest)
    assert second.scans[key] and craft.failures(second, "P6") == craft.failures(first, "P6")


@pytest.mark.parametrize(
    "path",
    [
        *("app/.env", ".env.production", "root/.netrc", "root/.aws/credentials", "x/id_rsa"),
        *("home/a/.docker/config.json", "etc/ssh/ssh_host_rsa_key", "srv/tls.key", "a/store.p12"),
        *("etc/ssl/private/site.pem", "app/credentials.json", "etc/apt/auth.conf.d/x"),
    ],
)
def test_p7_a_name_that_promises_a_secret(craft: Craft, path: str) -> None:
    (found,) = craft.failures(craft.foreign([craft.file(path, b"x")]), "P7")
    assert found.startswith(f"/{path} is a file")
    assert craft.failures(craft.foreign([craft.file(path)]), "P7") == []
    hidden = craft.foreign([craft.file(path, b"x")], [craft.file(path)])
    assert "hidden, but still in layer 1" in craft.failures(hidden, "P7")[0]


@pytest.mark.parametrize(
    "path", ["app/.env.example", "app/env.py", "app/.environment", "app/key.py", "app/id_rsa.pub"]
)
def test_p7_other_names_promise_nothing(craft: Craft, path: str) -> None:
    assert craft.failures(craft.foreign([craft.file(path, b"x")]), "P7") == []


@pytest.mark.parametrize(
    ("path", "data", "found"),
    [
        ("etc/pip.conf", b"[global]\nindex-url=https://u:Passw0rd77@h/s", "credentials"),
        ("root/.config/pip/pip.conf", b"[global]\ntrusted-host = x", "sets a proxy or a CA"),
        ("root/.npmrc", b"//registry/:_authToken=abcdefg", "credentials"),
        ("etc/apt/apt.conf.d/90proxy", b'Acquire::http::Proxy "http://p:1";', "sets a proxy"),
        ("etc/environment", b"https_proxy=http://p:1", "sets a proxy"),
        ("etc/profile.d/p.sh", b"export HTTP_PROXY=http://p:1", "sets a proxy"),
        ("usr/local/share/ca-certificates/site.crt", b"x", "is a CA of the site"),
        ("usr/share/ca-certificates/site/x.crt", b"x", "is a CA that no package brought"),
    ],
)
def test_p13_files_show_no_build_site(craft: Craft, path: str, data: bytes, found: str) -> None:
    (seen,) = craft.failures(craft.foreign([craft.file(path, data)]), "P13")
    assert seen.startswith(f"/{path} ") and found in seen and "Passw0rd77" not in seen


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("etc/pip.conf", b"[global]\nno-cache-dir = true\n"),
        ("root/.npmrc", b"//registry/:_authToken=${NPM_TOKEN}\n"),
        ("etc/apt/apt.conf.d/01x", b'// Acquire::http::Proxy "x";\nAPT::Get::X "1";\n'),
        ("etc/environment", b"# http_proxy=x\nLANG=C\n"),
        ("app/settings.py", b"http_proxy = None\n"),
    ],
)
def test_p13_harmless_files(craft: Craft, path: str, data: bytes) -> None:
    assert craft.failures(craft.foreign([craft.file(path, data)]), "P13") == []


def test_p13_the_bundle_holds_only_what_packages_brought(craft: Craft) -> None:
    known = packaged(craft, ("usr/share/ca-certificates/mozilla/a.crt", CERT % b"A"))
    bundle = "etc/ssl/certs/ca-certificates.crt"
    link = craft.link("etc/ssl/cert.pem", "certs/ca-certificates.crt")
    good = [*known, craft.file(bundle, CERT % b"A"), link]
    assert craft.failures(craft.foreign(good), "P13") == []
    bad = [*known, craft.file(bundle, CERT % b"A" + CERT % b"B"), link]
    assert craft.failures(craft.foreign(bad), "P13") == [
        f"/{bundle} trusts 1 certificates that no package brought"
    ]


def test_p13_the_bundle_of_certifi_is_what_its_wheel_brought(craft: Craft) -> None:
    def layer(bundle: bytes) -> list[Member]:
        digest = base64.urlsafe_b64encode(hashlib.sha256(CERT % b"A").digest()).rstrip(b"=")
        record = b"certifi/cacert.pem,sha256=" + digest + b",9\n"
        return [
            craft.file("s/certifi-1.dist-info/METADATA", b"Name: certifi\nVersion: 1\n"),
            craft.file("s/certifi-1.dist-info/RECORD", record),
            craft.file("s/certifi/cacert.pem", bundle),
        ]

    assert craft.failures(craft.foreign(layer(CERT % b"A")), "P13") == []
    assert craft.failures(craft.foreign(layer(CERT % b"A" + CERT % b"B")), "P13") == [
        "/s/certifi/cacert.pem trusts others than its wheel brought"
    ]
