# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushing to and pulling from Debian's registry, with a password and TLS, and an engine that runs what came."""

from __future__ import annotations

import base64
import functools
import json
import os
import pathlib
import shutil
import typing as t

import docker
import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
    RegistryError,
    RegistryErrorKind,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
    EngineImages,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    read_host_records,
    resolve_image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import (
    attach,
    attachments,
    payload,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import (
    Registry,
    fallback_tag,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    registry_options,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import (
    SIGNATURE_TYPE,
    read_host_signature,
    write_host_signature,
)
from tests.integration.pytest.registry_rig import PASSWORD, USER, RegistryRig, write_certificates
from tests.integration.pytest.registry_world import (
    APP,
    BASE,
    HOST,
    Kitchen,
    make_kitchen,
    remove_images,
)
from tests.integration.pytest.token_service import TokenService

SBOM_TYPE = "application/vnd.cyclonedx+json"
REPOSITORY = f"team/{APP}"


@pytest.fixture
def client() -> t.Iterator[docker.DockerClient]:
    """Return the engine, without images of these tests before and after."""
    engine = docker.DockerClient(HOST, timeout=120)
    remove_images(engine)
    yield engine
    remove_images(engine)
    engine.close()


@pytest.fixture
def registry(tmp_path: pathlib.Path) -> t.Iterator[RegistryRig]:
    """Return an empty registry that wants a password and has a certificate of an authority of its own."""
    rig = RegistryRig(tmp_path / "registry")
    rig.start()
    yield rig
    rig.stop()


@pytest.fixture
def kitchen(tmp_path: pathlib.Path) -> Kitchen:
    """Return a folder with a baked base and app."""
    root = tmp_path / "kitchen"
    root.mkdir()
    return make_kitchen(root)


def app(kitchen: Kitchen) -> BakeRecord:
    """Return what was baked as version 1.0.0."""
    record = kitchen.output.find(APP, "1.0.0")
    assert record is not None
    return record


def files(folder: pathlib.Path) -> dict[str, int]:
    """Return every file below a folder."""
    return {str(p): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


def test_a_push_is_checked_done_and_then_costs_one_request(
    registry: RegistryRig, kitchen: Kitchen
) -> None:
    digest = app(kitchen).manifest_digest
    checked = kitchen.push(registry.options(), check=True)
    assert {request.method for request in registry.asked()} == {"HEAD"}
    done = kitchen.push(registry.options())
    compared = ("changed", "before", "after", "actions", "diff")
    assert [checked[key] for key in compared] == [done[key] for key in compared]
    (image,) = done["images"]
    assert image["reference"] == f"{APP}@{digest}"
    assert image["registry_reference"] == f"{registry.host}/{REPOSITORY}@{digest}"
    assert image["pushed_digest"] == image["manifest_digest"] == digest
    assert (image["transfer"]["uploaded"], image["transfer"]["mounted"]) == (4, 0)
    order = [r.path.rpartition("/")[2] for r in registry.asked() if r.method == "PUT"]
    assert order[-2:] == [digest, "1.0.0"], "the tag comes last"
    count = len(registry.asked())
    again = kitchen.push(registry.options())
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["images"][0]["registry_reference"] == image["registry_reference"]
    assert registry.asked(count) == [("HEAD", f"/v2/{REPOSITORY}/manifests/1.0.0", 200)]


def test_layers_of_the_base_are_mounted_and_never_sent_again(
    registry: RegistryRig, kitchen: Kitchen
) -> None:
    assert kitchen.push_base(registry.options()).transfer["uploaded"] == 2
    count = len(registry.asked())
    (image,) = kitchen.push(registry.options())["images"]
    layer = kitchen.base.layers[0]
    assert image["transfer"]["mounted"] == 1
    assert image["transfer"]["bytes"] < layer.size
    mounts = [r for r in registry.asked(count) if "mount=" in r.path]
    assert [(r.method, r.status) for r in mounts] == [("POST", 201)]
    kitchen.write_app("second\n", "1.0.1")
    (image,) = kitchen.push(registry.options())["images"]
    assert (image["transfer"]["present"], image["transfer"]["uploaded"]) == (2, 2)


def test_without_a_base_in_the_registry_its_layers_are_uploaded(
    registry: RegistryRig, kitchen: Kitchen
) -> None:
    (image,) = kitchen.push(registry.options())["images"]
    assert image["transfer"]["mounted"] == 0
    mounts = [r for r in registry.asked() if "mount=" in r.path]
    assert [(r.method, r.status) for r in mounts] == [("POST", 202)]


def test_a_version_never_changes_in_the_registry(registry: RegistryRig, kitchen: Kitchen) -> None:
    first = app(kitchen).manifest_digest
    kitchen.push(registry.options())
    shutil.rmtree(kitchen.root / "output/records" / APP)
    kitchen.write_app("other\n")
    before = files(registry.root / "data")
    for check in (True, False):
        with pytest.raises(RegistryError, match="bump the version") as caught:
            kitchen.push(registry.options(), check=check)
        assert caught.value.kind is RegistryErrorKind.VERSION_TAKEN
    assert files(registry.root / "data") == before
    known = Registry(registry_options(registry.options()))
    assert known.head_manifest(REPOSITORY, "1.0.0") == first


def test_what_was_baked_of_an_older_recipe_is_not_pushed(
    registry: RegistryRig, kitchen: Kitchen
) -> None:
    (kitchen.root / "shop/src/app.py").write_text("changed since\n")
    kitchen.write_lock()
    with pytest.raises(CutoverError, match="baked from other content"):
        kitchen.push(registry.options())
    assert registry.asked() == []


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_check_mode_tolerates_what_is_not_baked_yet(
    registry: RegistryRig, kitchen: Kitchen, check: bool
) -> None:
    kitchen.write_recipe("2.0.0")
    if check:
        assert kitchen.push(registry.options(), check=True)["changed"]
    else:
        with pytest.raises(CutoverError, match="bake it first"):
            kitchen.push(registry.options())
    assert registry.asked() == []


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        pytest.param({"password": "wrong-password"}, "unauthorized", "401", id="wrong-password"),
        pytest.param({"username": "", "password": ""}, "unauthorized", "401", id="no-password"),
        pytest.param({"ca_file": ""}, "untrusted", "ca_file", id="SE-01-unknown-authority"),
        pytest.param({"ca_file": "other"}, "untrusted", "ca_file", id="SE-01-wrong-authority"),
        pytest.param({"plain_http": True}, "refused", "400", id="http-to-tls"),
        pytest.param({"host": "127.0.0.1:9"}, "unreachable", "Connection refused", id="down"),
    ],
)
def test_who_may_not_or_is_not_trusted_changes_nothing(
    registry: RegistryRig,
    kitchen: Kitchen,
    tmp_path: pathlib.Path,
    changes: dict[str, t.Any],
    kind: str,
    says: str,
) -> None:
    if changes.get("ca_file") == "other":
        other = tmp_path / "other"
        other.mkdir()
        write_certificates(other)
        changes = {"ca_file": str(other / "ca.pem")}
    options = registry.options(**changes)
    for attempt in (kitchen.push, lambda o: kitchen.pull(o, app(kitchen).reference)):
        with pytest.raises(RegistryError) as caught:
            attempt(options)
        assert caught.value.kind.value == kind
        assert says in caught.value.message
        assert f"/v2/{REPOSITORY}/manifests/" in caught.value.message
        shown = f"{caught.value.message} {caught.value.details}"
        assert PASSWORD not in shown and "wrong-password" not in shown and "Basic" not in shown
    assert not registry.blobs.exists()
    assert not kitchen.state_dir.exists()


@pytest.mark.parametrize(
    ("days", "host"),
    [(-1, "127.0.0.1"), (1, "127.0.0.2")],
    ids=["SE-01-expired", "SE-01-wrong-host"],
)
def test_a_certificate_that_is_not_good_is_refused(
    tmp_path: pathlib.Path, kitchen: Kitchen, days: int, host: str
) -> None:
    rig = RegistryRig(tmp_path / "bad")
    rig.root.mkdir()
    write_certificates(rig.root, host, days)
    rig.start(trusted=False)
    try:
        with pytest.raises(RegistryError, match="certificate is not trusted") as caught:
            kitchen.push(rig.options())
        assert caught.value.kind is RegistryErrorKind.UNTRUSTED
        assert kitchen.push(rig.options(tls_verify=False))["changed"]
    finally:
        rig.stop()


def test_the_password_may_come_from_a_docker_config(
    registry: RegistryRig, kitchen: Kitchen, tmp_path: pathlib.Path
) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    path = tmp_path / "config.json"
    options = registry.options(username="", password="", auth_file=str(path))
    path.write_text(json.dumps({"auths": {"elsewhere.example": {"auth": auth}}}))
    with pytest.raises(InvalidInput, match=f"must have an entry for {registry.host}"):
        kitchen.push(options)
    path.write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    assert kitchen.push(options)["changed"]


def test_a_netrc_does_not_replace_the_password(
    registry: RegistryRig,
    kitchen: Kitchen,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login nobody password of-no-use\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert kitchen.push(registry.options())["changed"]


def test_pulled_by_digest_it_runs_and_stays_without_a_registry(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient
) -> None:
    record = app(kitchen)
    (pushed,) = kitchen.push(registry.options())["images"]
    reference = pushed["registry_reference"]
    checked = kitchen.pull(registry.options(), reference, check=True)
    assert not kitchen.state_dir.exists() and not client.images.list(APP)
    pulled = kitchen.pull(registry.options(), reference)
    compared = ("changed", "before", "after", "actions", "diff")
    assert [checked[key] for key in compared] == [pulled[key] for key in compared]
    assert client.images.get(record.image_id).id == record.image_id
    said = client.containers.run(
        record.image_id,
        ["/bin/sh", "-c", "read line < /app/app.py; echo $line"],
        network_mode="none",
        remove=True,
    )
    assert said == b"first\n"
    (found,), _unreadable = read_host_records(str(kitchen.state_dir))
    assert found == BakeRecord.from_mapping({**record.to_mapping(), "layout": ""}, "here")
    has = EngineImages(HOST).has
    for name in (APP, f"{registry.host}/{REPOSITORY}", f"registry.example/{APP}"):
        assert resolve_image(f"{name}@{record.manifest_digest}", str(kitchen.state_dir), has)
    registry.stop()
    for name in (reference, record.reference):
        again = kitchen.pull(registry.options(), name)
        assert (again["changed"], again["actions"]) == (False, [])
    assert not list(kitchen.state_dir.glob("pull-*"))


def test_only_layers_the_engine_lacks_are_downloaded(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient
) -> None:
    kitchen.push(registry.options())
    kitchen.pull(registry.options(), app(kitchen).reference)
    second = kitchen.write_app("second\n", "1.0.1")
    kitchen.push(registry.options())
    count = len(registry.asked())
    (image,) = kitchen.pull(registry.options(), second.reference)["images"]
    assert (image["downloaded"], image["bytes"]) == (1, second.layers[-1].size)
    fetched = [r.path.rpartition("/")[2] for r in registry.asked(count) if "/blobs/" in r.path]
    assert fetched == [second.image_id, second.layers[-1].digest]
    assert client.images.get(second.image_id).tags == [f"{APP}:1.0.1"]


def test_an_engine_that_refuses_a_thin_archive_gets_every_layer(
    registry: RegistryRig,
    kitchen: Kitchen,
    client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kitchen.push(registry.options())
    wanted = app(kitchen)
    # Claims a layer that this engine does not have: a really thin archive is then really refused.
    shared = {wanted.layers[0].digest}
    monkeypatch.setattr(EngineImages, "shared_layers", lambda self, layers: shared)
    (image,) = kitchen.pull(registry.options(), wanted.reference)["images"]
    assert image["downloaded"] == 3
    assert client.images.get(wanted.image_id)


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_what_is_corrupt_in_the_registry_never_gets_out(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient, part: str
) -> None:
    kitchen.push(registry.options())
    record = app(kitchen)
    digests = {
        "manifest": record.manifest_digest,
        "config": record.image_id,
        "layer": record.layers[1].digest,
    }
    path = registry.blob(digests[part])
    data = path.read_bytes()
    spoilt = (
        data.replace(b"amd64", b"arm64") if part == "config" else bytes([data[0] ^ 1]) + data[1:]
    )
    assert len(spoilt) == len(data) and spoilt != data
    path.write_bytes(spoilt)
    registry.stop()
    registry.start()
    with pytest.raises(CutoverError) as caught:
        kitchen.pull(registry.options(), record.reference)
    if part != "manifest":
        assert "digest mismatch: expected " + digests[part] in caught.value.message
    assert not client.images.list(APP)
    assert read_host_records(str(kitchen.state_dir)) == ([], [])
    assert not list(kitchen.state_dir.glob("*"))


def test_what_refers_to_an_image_goes_with_it(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient, tmp_path: pathlib.Path
) -> None:
    record, output = app(kitchen), kitchen.output
    attach(output, record, SBOM_TYPE, SBOM_TYPE, b'{"components": []}')
    kitchen.push(registry.options())
    place = Registry(registry_options(registry.options()))
    (listed,) = place.referrers(REPOSITORY, record.manifest_digest)
    assert listed["artifactType"] == SBOM_TYPE
    assert place.head_manifest(REPOSITORY, fallback_tag(record.manifest_digest))
    signature = attach(output, record, SIGNATURE_TYPE, SIGNATURE_TYPE, b'{"signed": true}')
    checked = kitchen.push(registry.options(), check=True)
    added = kitchen.push(registry.options())
    assert checked["actions"] == added["actions"]
    assert added["actions"] == [f"attach {SIGNATURE_TYPE} to {record.tag}"]
    assert added["before"][record.tag]["attachments"] == 1
    count = len(registry.asked())
    assert not kitchen.push(registry.options())["changed"]
    assert len(registry.asked(count)) <= 3
    elsewhere = tmp_path / "elsewhere"
    kitchen.pull(registry.options(), record.reference, output=str(elsewhere))
    assert read_host_signature(str(kitchen.state_dir), record.image_id) == b'{"signed": true}'
    copied = Output(str(elsewhere))
    pulled = copied.find_reference(record.reference)
    assert attachments(copied, pulled) == attachments(output, record)
    assert payload(copied, signature) == b'{"signed": true}'


def test_a_signature_that_came_later_is_taken_only_when_asked_for(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient
) -> None:
    record, state = app(kitchen), str(kitchen.state_dir)

    def pull(**changes: t.Any) -> list[str]:
        actions = kitchen.pull(registry.options(), record.reference, **changes)["actions"]
        return t.cast("list[str]", actions)

    kitchen.push(registry.options())
    pull()
    attach(kitchen.output, record, SIGNATURE_TYPE, SIGNATURE_TYPE, b'{"by": ["one"]}')
    kitchen.push(registry.options())
    count = len(registry.asked())
    assert pull() == [] and len(registry.asked()) == count
    assert read_host_signature(state, record.image_id) == b""
    wanted = [f"take the signature of {record.reference}"]
    assert pull(refresh_signatures=True, check=True) == wanted
    assert read_host_signature(state, record.image_id) == b""
    assert pull(refresh_signatures=True) == wanted
    assert read_host_signature(state, record.image_id) == b'{"by": ["one"]}'
    assert pull(refresh_signatures=True) == []
    write_host_signature(state, record.image_id, b'{"by": ["one", "two"]}')
    assert pull(refresh_signatures=True) == [], "the registry's has fewer"


def test_a_run_killed_before_the_list_was_written_is_repaired(
    registry: RegistryRig, kitchen: Kitchen
) -> None:
    record = app(kitchen)
    attach(kitchen.output, record, SBOM_TYPE, SBOM_TYPE, b'{"components": []}')
    kitchen.push(registry.options())
    tags = registry.root / f"data/docker/registry/v2/repositories/{REPOSITORY}/_manifests/tags"
    shutil.rmtree(tags / fallback_tag(record.manifest_digest))
    shutil.rmtree(tags / "1.0.0")
    done = kitchen.push(registry.options())
    assert done["actions"] == [
        f"attach {SBOM_TYPE} to {record.tag}",
        f"tag {registry.host}/{REPOSITORY}:1.0.0",
    ]
    place = Registry(registry_options(registry.options()))
    assert len(place.referrers(REPOSITORY, record.manifest_digest)) == 1


def test_compressed_layers_keep_the_image_id(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient
) -> None:
    record = app(kitchen)
    kitchen.push_base(registry.options(), gzip=True)
    (pushed,) = kitchen.push(registry.options(), compression="gzip")["images"]
    digest = pushed["pushed_digest"]
    assert digest != record.manifest_digest and pushed["image_id"] == record.image_id
    assert pushed["transfer"]["mounted"] == 1
    count = len(registry.asked())
    assert not kitchen.push(registry.options(), compression="gzip")["changed"]
    assert len(registry.asked(count)) == 1
    assert kitchen.output.find_reference(f"{APP}@{digest}").image_id == record.image_id
    attach(kitchen.output, record, SIGNATURE_TYPE, SIGNATURE_TYPE, b'{"signed": 1}')
    kitchen.push(registry.options(), compression="gzip")
    (pulled,) = kitchen.pull(registry.options(), pushed["registry_reference"])["images"]
    assert (pulled["image_id"], pulled["manifest_digest"]) == (
        record.image_id,
        record.manifest_digest,
    )
    assert pulled["bytes"] < record.size
    has = EngineImages(HOST).has
    for wanted in (digest, record.manifest_digest, record.image_id):
        found = resolve_image(f"{APP}@{wanted}", str(kitchen.state_dir), has)
        assert found == record.image_id
    assert read_host_signature(str(kitchen.state_dir), record.image_id) == b'{"signed": 1}'


def test_another_compression_of_the_same_image_is_no_other_version(
    registry: RegistryRig, kitchen: Kitchen, tmp_path: pathlib.Path
) -> None:
    (first,) = kitchen.push(registry.options(), compression="gzip")["images"]
    root = tmp_path / "second"
    root.mkdir()
    second = make_kitchen(root)
    again = second.push(registry.options(), compression="gzip")
    assert not again["changed"]
    assert again["images"][0]["pushed_digest"] == first["pushed_digest"]
    plain = second.push(registry.options())
    assert plain["actions"] == [f"push {APP}:1.0.0 to {registry.host}/{REPOSITORY}"]
    place = Registry(registry_options(registry.options()))
    assert place.head_manifest(REPOSITORY, "1.0.0") == first["pushed_digest"]
    assert place.head_manifest(REPOSITORY, app(second).manifest_digest)


def test_a_gzip_layer_of_other_content_is_refused(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient
) -> None:
    """The manifest may be signed by nobody: what the configuration says of the tars decides."""
    kitchen.push(registry.options(), compression="gzip")
    place = Registry(registry_options(registry.options()))
    manifest = json.loads(place.get_manifest(REPOSITORY, "1.0.0"))
    first, second = manifest["layers"][1], manifest["layers"][2]
    manifest["layers"][1:] = [second, first]
    data = json.dumps(manifest).encode()
    place.put_manifest(REPOSITORY, "forged", data)
    digest = place.head_manifest(REPOSITORY, "forged")
    with pytest.raises(CutoverError, match="digest mismatch: its tar should be") as caught:
        kitchen.pull(registry.options(), f"{APP}@{digest}")
    assert isinstance(caught.value, (StateError, CutoverError))
    assert not client.images.list(APP)
    assert not list(kitchen.state_dir.glob("*"))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        pytest.param(f"{APP}:1.0.0", "must be pinned", id="B13-tag"),
        pytest.param(f"{APP}@sha256:" + "0" * 64, "is not in 127.0.0.1", id="absent"),
        pytest.param(
            f"other.example/{APP}@sha256:" + "0" * 64, "must name the registry", id="host"
        ),
    ],
)
def test_what_cannot_be_pulled_is_named(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient, image: str, says: str
) -> None:
    with pytest.raises(CutoverError, match=says):
        kitchen.pull(registry.options(), image)
    assert not kitchen.state_dir.exists()


def test_an_image_under_another_name_is_refused(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient
) -> None:
    kitchen.push(registry.options(), repository_prefix="team/other")
    digest = app(kitchen).manifest_digest
    wanted = f"{registry.host}/team/other/{APP}@{digest}"
    assert kitchen.pull(registry.options(), wanted)["changed"]
    with pytest.raises(InvalidInput, match=f"is an image of {APP}"):
        resolve_image(
            f"{registry.host}/team/shop@{digest}", str(kitchen.state_dir), lambda _id: True
        )


def test_a_registry_that_went_down_leaves_everything_as_it_was(
    registry: RegistryRig, kitchen: Kitchen, client: docker.DockerClient
) -> None:
    kitchen.push(registry.options())
    kitchen.pull(registry.options(), app(kitchen).reference)
    second = kitchen.write_app("second\n", "1.0.1")
    before = files(kitchen.root), client.images.get(app(kitchen).image_id).tags
    registry.stop()
    wanted = second.reference
    attempts = [
        *(
            functools.partial(kitchen.push, registry.options(), check=check)
            for check in (True, False)
        ),
        *(
            functools.partial(kitchen.pull, registry.options(), wanted, check=c)
            for c in (True, False)
        ),
    ]
    for attempt in attempts:
        with pytest.raises(RegistryError, match="cannot reach the registry") as caught:
            attempt()
        assert caught.value.kind is RegistryErrorKind.UNREACHABLE
    assert (files(kitchen.root), client.images.get(app(kitchen).image_id).tags) == before
    registry.start()
    assert kitchen.push(registry.options())["changed"]


def test_a_plain_registry_on_the_loopback_needs_no_certificate(
    kitchen: Kitchen, tmp_path: pathlib.Path
) -> None:
    rig = RegistryRig(tmp_path / "plain", plain=True)
    rig.start()
    try:
        assert kitchen.push(rig.options(), repository_prefix="", tags=False)["changed"]
        assert not kitchen.push(rig.options(), repository_prefix="", tags=False)["changed"]
        assert not os.path.exists(rig.root / "ca.pem")
    finally:
        rig.stop()


@pytest.fixture
def tokens(tmp_path: pathlib.Path) -> t.Iterator[tuple[RegistryRig, TokenService]]:
    """Return a registry that takes only tokens, and the service that gives them."""
    rig = RegistryRig(tmp_path / "tokens")
    rig.root.mkdir()
    write_certificates(rig.root)
    with TokenService(rig.root, denied="team/forbidden").running() as service:
        rig.realm = service.realm
        rig.start()
        yield rig, service
        rig.stop()


def test_a_registry_that_wants_tokens_gets_one_for_each_repository(
    kitchen: Kitchen, client: docker.DockerClient, tokens: tuple[RegistryRig, TokenService]
) -> None:
    rig, service = tokens
    kitchen.push_base(rig.options())
    (image,) = kitchen.push(rig.options())["images"]
    assert image["transfer"]["mounted"] == 1
    names = {scope.split(":")[1] for scopes in service.asked for scope in scopes}
    assert names == {f"team/{BASE}", REPOSITORY}
    assert len(service.asked) <= 12, "a token is kept, not asked for each time"
    assert kitchen.pull(rig.options(), image["registry_reference"])["changed"]
    assert not kitchen.push(rig.options())["changed"]


@pytest.mark.parametrize(
    ("changes", "prefix", "status"),
    [
        pytest.param({"password": "wrong-password"}, "team", 401, id="wrong-password"),
        pytest.param({"username": "", "password": ""}, "team", 401, id="no-password"),
        pytest.param({}, "team/forbidden", 401, id="no-right"),
    ],
)
def test_a_token_service_may_refuse(
    kitchen: Kitchen,
    tokens: tuple[RegistryRig, TokenService],
    changes: dict[str, t.Any],
    prefix: str,
    status: int,
) -> None:
    rig, service = tokens
    service.denied = f"{prefix}/{APP}" if "forbidden" in prefix else ""
    with pytest.raises(RegistryError, match=f"registry answered {status}") as caught:
        kitchen.push(rig.options(**changes), repository_prefix=prefix)
    assert PASSWORD not in caught.value.message
    assert not rig.blobs.exists()
