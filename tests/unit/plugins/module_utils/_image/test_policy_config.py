# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the rules about origin, name and configuration: P1, P2, P4, P7, P10, P12, P13."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Craft

DIGEST = "org.opencontainers.image.base.digest"
VERSION = "org.opencontainers.image.version"
SHA = "sha256:" + "1" * 64
TOKEN = "ghp_" + "a1B2" * 9


def test_p1_an_app_on_its_base_is_fine(craft: Craft) -> None:
    assert craft.failures(craft.app([[craft.file("a")]], [[craft.file("b")]]), "P1") == []


def test_p1_other_layers_label_or_lock_than_the_base(craft: Craft) -> None:
    check = craft.app([[craft.file("a")]], [[craft.file("b")]], Labels={})
    assert check.baked is not None and check.baked.lock is not None
    other = dataclasses.replace(
        check.baked,
        base=craft.image([craft.file("other")]),
        lock=dataclasses.replace(check.baked.lock, base=None),
    )
    found = craft.failures(dataclasses.replace(check, baked=other), "P1")
    assert [words.split(" ", 1)[0] for words in found] == ["its", "label", "the"]
    gone = dataclasses.replace(check.baked, base=None, base_record=None)
    (found_one,) = craft.failures(dataclasses.replace(check, baked=gone), "P1")
    assert found_one.endswith("is not in the output folder")


def test_p1_a_foreign_image_names_its_base_by_digest(craft: Craft) -> None:
    assert craft.failures(craft.foreign([craft.file("a")], Labels={DIGEST: SHA}), "P1") == []
    for labels in (None, {}, {DIGEST: "latest"}):
        (found,) = craft.failures(craft.foreign([craft.file("a")], Labels=labels), "P1")
        assert "names no digest" in found


@pytest.mark.parametrize(
    ("tags", "label", "found"),
    [
        (["shop:1.4.2"], "", []),
        (["localhost:5000/shop:1.4.2-rc.1"], "1.4.2-rc.1", []),
        ([SHA], "1.4.2", []),
        (["shop:latest"], "", ["shop: version latest: unpinned version 'latest'"]),
        (["shop:1.4"], "", ["shop: version 1.4: must be a SemVer"]),
        (["prod/shop:1.0.0"], "", ["prod/shop: 'prod' is an environment"]),
        (["shop:1.0.0"], "staging", ["shop: version staging: unpinned version"]),
        ([SHA], "", [f"{SHA} has no version"]),
    ],
)
def test_p2_versions_are_fixed(craft: Craft, tags: list[str], label: str, found: list[str]) -> None:
    labels = {VERSION: label} if label else None
    check = craft.foreign([craft.file("a")], tags=tuple(tags), Labels=labels)
    seen = craft.failures(check, "P2")
    assert len(seen) == len(found)
    assert all(one.startswith(start) for one, start in zip(seen, found, strict=True)), seen


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("10001", ""),
        ("10001:0", ""),
        ("", "no user is set, so it runs as root"),
        (None, "no user is set, so it runs as root"),
        ("0", "user '0' is root"),
        ("0:10", "user '0:10' is root"),
        ("000", "user '000' is root"),
        ("root", "user 'root' is a name"),
        ("app:app", "user 'app:app' is a name"),
    ],
)
def test_p4_the_user_is_a_number_and_not_root(craft: Craft, user: str | None, found: str) -> None:
    seen = craft.failures(craft.foreign([craft.file("a")], User=user), "P4")
    assert [one[: len(found)] for one in seen] == ([found] if found else [])


def test_p4_a_base_may_leave_the_user_to_its_apps(craft: Craft) -> None:
    assert craft.failures(craft.base([craft.file("a")]), "P4") == []
    assert craft.failures(craft.base([craft.file("a")], User="root"), "P4")


@pytest.mark.parametrize(
    "name", ["DB_PASSWORD", "token", "GITHUB_TOKEN", "ClientSecret", "API_KEY", "KEY", "PASSWD_X"]
)
def test_p7_an_environment_name_that_promises_a_secret(craft: Craft, name: str) -> None:
    (found,) = craft.failures(craft.foreign([craft.file("a")], Env=[f"{name}=hunter2"]), "P7")
    assert name in found and "hunter2" not in found
    for harmless in (f"{name}=", f"{name}_FILE=/run/secrets/x", "PATH=/bin"):
        assert craft.failures(craft.foreign([craft.file("a")], Env=[harmless]), "P7") == []
    assert craft.failures(craft.foreign([craft.file("a")], Env=[f"{name}_FILE=hunter2"]), "P7")


def test_p10_size_and_layers_have_a_budget(craft: Craft) -> None:
    layers = [[craft.file(f"f{n}", bytes(5000))] for n in range(3)]
    assert craft.failures(craft.foreign(*layers), "P10") == []
    tight = {"max_size": "20k", "max_layers": 2}
    assert craft.failures(craft.foreign(*layers, policy=tight), "P10") == [
        "0.0 MiB in all layers, policy.max_size allows 0.0 MiB",
        "3 layers, policy.max_layers allows 2",
    ]


def test_p12_what_is_required_has_no_default(craft: Craft) -> None:
    recipe = {"config": {"user": "10001", "env_required": ["DATABASE_URL"]}}
    own = [[craft.file("b")]]
    assert craft.failures(craft.app([], own, recipe, Env=["OTHER=1"]), "P12") == []
    (found,) = craft.failures(craft.app([], own, recipe, Env=["DATABASE_URL=x"]), "P12")
    assert found == "environment variable DATABASE_URL is required from outside but has a value"
    labels = {"immutable.cutover.env-required": "A,B"}
    assert len(craft.failures(craft.foreign([], Labels=labels, Env=["B=", "A=1"]), "P12")) == 2


@pytest.mark.parametrize(
    "env",
    [
        "http_proxy=http://proxy:3128",
        "HTTPS_PROXY=http://proxy:3128",
        "no_proxy=.internal",
        "SSL_CERT_FILE=/ca.pem",
        "REQUESTS_CA_BUNDLE=/ca.pem",
        "PIP_TRUSTED_HOST=pypi",
        f"INDEX={TOKEN}",
        "PIP_INDEX_URL=https://bot:Passw0rd77@index/simple",
    ],
)
def test_p13_the_environment_shows_no_build_site(craft: Craft, env: str) -> None:
    (found,) = craft.failures(craft.foreign([craft.file("a")], Env=[env]), "P13")
    name, _equals, value = env.partition("=")
    assert name in found and value not in found
    assert craft.failures(craft.foreign([craft.file("a")], Env=[f"{name}=", "LANG=C"]), "P13") == []


@pytest.mark.parametrize("part", ["Cmd", "Entrypoint"])
def test_p13_a_command_holds_no_credential(craft: Craft, part: str) -> None:
    bad = craft.foreign([craft.file("a")], **{part: ["run", f"--token={TOKEN}"]})
    assert craft.failures(bad, "P13") == [f"configuration {part} holds a credential"]
    assert craft.failures(craft.foreign([craft.file("a")], **{part: ["run"]}), "P13") == []


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("|1 http_proxy=http://p:1 /bin/sh -c make", "was given a proxy"),
        ("|1 NPM_TOKEN=hunter2 /bin/sh -c npm ci", "shows the value of NPM_TOKEN"),
        (f"/bin/sh -c curl -H {TOKEN}", "holds a credential"),
        ("RUN git clone https://bot:Passw0rd77@git/x", "holds a credential"),
        ("RUN update-ca-certificates", "changed which CA is trusted"),
        ("COPY ca.crt /usr/local/share/ca-certificates/", "changed which CA is trusted"),
    ],
)
def test_p13_the_history_shows_no_build_site(craft: Craft, command: str, found: str) -> None:
    seen = craft.failures(craft.foreign([craft.file("a")], history=["ok", command]), "P13")
    assert seen and seen[0].startswith("history step 2 ") and found in seen[0]
    assert not any("hunter2" in one or "Passw0rd77" in one or TOKEN in one for one in seen)


def test_p13_harmless_history(craft: Craft) -> None:
    harmless = ["RUN make", "ENV TOKEN_FILE=/run/secrets/x", "RUN X_TOKEN=$TOKEN ./y", "COPY a /b"]
    assert craft.failures(craft.foreign([craft.file("a")], history=harmless), "P13") == []
