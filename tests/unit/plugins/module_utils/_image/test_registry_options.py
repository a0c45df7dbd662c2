# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the option registry."""

from __future__ import annotations

import base64
import json
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    registry_options as subject,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.host_load import LOAD_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._image.pull_front import PULL_SPEC
from ansible_collections.immutable.cutover.plugins.module_utils._image.push_front import PUSH_SPEC

HOST = "registry.example:5000"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"host": ""}, "registry.host: must be a host name"),
        ({"host": "https://registry.example"}, "registry.host: must be a host name"),
        ({"host": "registry.example/team"}, "registry.host: must be a host name"),
        ({"host": "registry.example:0"}, "registry.host: must be a host name"),
        ({"host": "registry.example:65536"}, "registry.host: must be a host name"),
        ({"host": "user:secret@registry.example"}, "registry.host: must be a host name"),
        pytest.param({"host": "a\nb"}, "registry.host: must be a host name", id="B07-newline"),
        ({"timeout": 0}, "registry.timeout: must be whole seconds, 1-3600"),
        ({"timeout": True}, "registry.timeout: must be whole seconds, 1-3600"),
        pytest.param({"plain_http": True}, "set allow_http: true", id="SE-01-plain"),
        ({"username": "ci"}, "registry.password: must stand beside its other half"),
        ({"password": "long enough"}, "registry.username: must stand beside its other half"),
        pytest.param({"username": "ci", "password": "x1"}, "at least 4 characters", id="SE-10"),
        ({"username": "a:b", "password": "long enough"}, "must not contain a colon"),
        ({"ca_file": "/nowhere.pem"}, "registry.ca_file: must be a file"),
        ({"auth_file": "/nowhere.json"}, "registry.auth_file: must be a docker config.json"),
        ({"auth_file": "/x", "username": "ci"}, "must not stand beside a user name"),
    ],
)
def test_refused(given: dict[str, t.Any], says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        subject.registry_options({"host": HOST, **given})
    assert says in caught.value.message
    assert "x1" not in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:5000", "127.3.2.1", "[::1]:5000"])
def test_plain_http_on_the_loopback_needs_no_more_words(host: str) -> None:
    options = subject.registry_options({"host": host, "plain_http": True})
    assert (options.loopback, options.url) == (True, f"http://{host}")


def test_plain_http_to_another_machine_is_a_choice() -> None:
    given = {"host": HOST, "plain_http": True, "allow_http": True}
    assert subject.registry_options(given).url == f"http://{HOST}"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        pytest.param("[", "must be a docker config.json (not JSON)", id="no-json"),
        pytest.param("[]", f"must have an entry for {HOST}", id="list"),
        pytest.param('{"auths": {}}', f"must have an entry for {HOST}", id="empty"),
        pytest.param({"auth": "%%"}, "must have base64 of user:password", id="no-base64"),
        pytest.param({"auth": "c2VjcmV0"}, "must have base64 of user:password", id="no-colon"),
    ],
)
def test_an_auth_file_that_does_not_help_is_named(
    tmp_path: pathlib.Path, config: str | dict[str, str], says: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps({"auths": {HOST: config}}))
    with pytest.raises(InvalidInput) as caught:
        subject.registry_options({"host": HOST, "auth_file": str(path)})
    assert says in caught.value.message


def test_an_auth_file_gives_user_and_password(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.json"
    auth = base64.b64encode(b"ci:pass:word").decode()
    path.write_text(json.dumps({"auths": {HOST: {"auth": auth}}}))
    options = subject.registry_options({"host": HOST, "auth_file": str(path)})
    assert options.credentials == subject.Credentials("ci", "pass:word")
    assert "pass:word" not in repr(options)


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param('printf \'{"Username":"ci","Secret":"from-%s"}\' "$(cat)"', "", id="found"),
        pytest.param("echo the-secret; exit 1", "has no credentials for", id="failed"),
        pytest.param("", "not found on this host", id="missing"),
    ],
)
def test_a_credential_helper_is_asked(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, key: str, script: str, says: str
) -> None:
    if script:
        helper = tmp_path / "docker-credential-vault"
        helper.write_text(f"#!/bin/sh\n{script}\n")
        helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({key: {HOST: "vault"} if key == "credHelpers" else "vault"}))
    given = {"host": HOST, "auth_file": str(path)}
    if not says:
        found = subject.registry_options(given).credentials
        assert found == subject.Credentials("ci", f"from-{HOST}")
        return
    with pytest.raises(CutoverError, match=says) as caught:
        subject.registry_options(given)
    assert "the-secret" not in f"{caught.value.message} {caught.value.details}"


@pytest.mark.parametrize("spec", [PUSH_SPEC, PULL_SPEC, LOAD_SPEC], ids=["push", "pull", "load"])
def test_every_secret_of_the_specs_is_hidden_se_09(spec: dict[str, t.Any]) -> None:
    def walk(options: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, t.Any]]:
        for name, option in options.items():
            yield name, option
            yield from walk(option.get("options", {}))

    for name, option in walk(spec):
        assert option.get("no_log", False) == (name == "password"), name
