# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of telling secrets from what only looks like one."""

from __future__ import annotations

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image import secret_scan as subject

# Put together here, so that no scanner takes this file for a leak.
AWS = b"AKIA" + b"QWERTYUIOPASDF12"
GITHUB = b"ghp_" + b"a1B2" * 9
RANDOM = b"f8Kq2ZpL9vXw" + b"T4rBn7Yc"
KEY = b"-----BEGIN RSA " + b"PRIVATE KEY-----\nMIIEpAIBAAKCAQEA" + b"q8Zr" * 12 + b"\n"


def kinds(data: bytes, path: str = "app/config.py") -> list[str]:
    """Return what a scan found."""
    return [f"{hit.kind} {hit.line}" for hit in subject.scan([data], path)]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"x\naws = " + AWS, "an AWS access key 2"),
        (b"\0\1" + GITHUB, "a GitHub token 1"),
        (b"xox" + b"b-123456789012-abc", "a Slack token 1"),
        (KEY, "a private key 1"),
        (KEY.replace(b"\n", b"\\n"), "a private key 1"),
        (KEY.replace(b"RSA ", b"OPENSSH "), "a private key 1"),
        (b"sk_li" + b"ve_" + b"a1B2" * 6, "a Stripe key 1"),
        (b"\n\nglp" + b"at-" + b"a1B2" * 5, "a GitLab token 3"),
    ],
)
@pytest.mark.parametrize("end", [b"", b"\0\0"], ids=["text", "program"])
def test_a_known_form_is_found_everywhere(data: bytes, found: str, end: bytes) -> None:
    assert kinds(data + end, "usr/bin/tool") == [found]


@pytest.mark.parametrize(
    "data",
    [
        b"AKIA" + b"IOSFODNN7EXAMPLE",
        b"x" + AWS,
        AWS + b"3",
        b'"-----BEGIN RSA PRIVATE KEY-----"\0and more text that follows in a program',
        b"-----BEGIN CERTIFICATE-----\n" + b"MIIB" * 20,
        b"ghp_short",
    ],
)
def test_what_only_starts_like_a_secret_is_none(data: bytes) -> None:
    assert kinds(data) == []


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("app/config.py", b'API_TOKEN = "' + RANDOM + b'"'),
        ("app/config.js", b"{clientSecret: '" + RANDOM + b"'}"),
        ("app/config.json", b'{"db_password": "' + RANDOM + b'"}'),
        ("app/settings.ini", b"[db]\npassword = " + RANDOM + b"\n"),
        ("app/run.sh", b"export API_KEY=" + RANDOM + b"\n"),
        ("app/x.yml", b"  secret_key: " + RANDOM),
    ],
)
def test_an_assignment_of_something_random_is_found(path: str, data: bytes) -> None:
    assert [kind.rpartition(" ")[0] for kind in kinds(data, path)] == ["a secret in an assignment"]
    assert kinds(b"\0" + data, path) == []


@pytest.mark.parametrize(
    "data",
    [
        b'password = "changeme-changeme-1"',
        b'token = "example-0123456789abcdef"',
        b'SECRET_FILE = "/run/secrets/DATABASE_URL_1"',
        b'secret_name = "my_database_credentials_v2"',
        b"ssl_keyfile_password=ssl_keyfile_password,",
        b"accept_token = generate_accept_token(nonce1)",
        b'password = "aaaaaaaaaaaaaaaaaaaa1"',
        b'password = "${DATABASE_PASSWORD_1}"',
        b'"NMTOKEN":  minidom.TypeInfo(None, "nmtoken")',
    ],
)
def test_names_and_placeholders_are_no_secrets(data: bytes) -> None:
    assert kinds(data, "app/config.conf") == []


def test_a_password_in_a_url_is_found() -> None:
    url = b"postgres://shop:" + b"hunter42" + b"@db.internal/shop"
    assert kinds(b"url = " + url) == ["a password in a URL 1"]
    assert subject.url_password(url.decode())
    for harmless in ("https://user:password@host/", "https://example.org:8443/a@b", "a:b@c"):
        assert not subject.url_password(harmless)


def test_a_secret_across_two_pieces_is_found_once() -> None:
    data = b"\n" * 3000 + AWS + b"\n" * 3000
    for cut in (2990, 3005, 3019, 3020, 3030):
        pieces = [data[:cut], data[cut:]]
        found = [(hit.kind, hit.line) for hit in subject.scan(pieces, "x")]
        assert found == [("an AWS access key", 3001)], cut
