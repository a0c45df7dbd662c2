# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify before start, for real: a baked and signed image, a real engine, HAProxy, and the playbook that replaces.

Needs a running Docker Engine, root, haproxy, openssl, and Debian's busybox-static, installed here when it is missing.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.front import plan_release
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import front, lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    Entry,
    write_entries,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    image_config,
    image_manifest,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import load_recipe
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    LayerRecord,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import (
    host_signature_path,
)
from ansible_collections.immutable.cutover.plugins.modules import image_attest
from tests.integration.pytest.haproxy_rig import Haproxy
from tools.sample import PLAYBOOK, ROOT, environment

RUN = "ic-attest-" + uuid.uuid4().hex[:6]
BUSYBOX = Path("/bin/busybox")
EPOCH = 1_700_000_000
BASE = "bake: 1\nkind: base\nname: %s/base\nversion: 1.0.0\nbootstrap: {suite: bookworm}\n"
APP = """
bake: 1
kind: app
name: %(name)s
version: %(version)s
base: %(base)s
files: [{src: www/, dest: /www}]
config: {user: "10001", expose: [8080]}
entrypoints: {web: [/bin/busybox, httpd, -f, -p, "8080", -h, /www]}
"""


def add_base(root: Path, output: Output) -> BakeRecord:
    """Put a base of busybox into an output folder, as a bootstrap would."""
    if not BUSYBOX.exists():
        command = ["apt-get", "install", "-y", "--no-install-recommends", "busybox-static"]
        subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    (root / "base.yml").write_text(BASE % RUN)
    recipe = load_recipe(str(root / "base.yml"))
    kept = lock.Lock("sha256:" + "0" * 64, EPOCH, "amd64")
    output.create()
    entries = [
        Entry("/bin/busybox", 0o755, BUSYBOX.read_bytes()),
        Entry("/etc/os-release", 0o644, b"ID=busybox\n"),
    ]
    written = write_entries(entries, str(root / "base.tar"), EPOCH)
    layer = output.layout.adopt(written.path, written.sha256, written.size, "packages")
    config = image_config(recipe, kept, "0" * 64, [layer], None)
    record = BakeRecord(
        name=recipe.name,
        version=recipe.version,
        kind="base",
        arch="amd64",
        image_id=output.layout.add_bytes(config).digest,
        manifest_digest=output.layout.add_bytes(image_manifest(config, [layer])).digest,
        recipe_hash="0" * 64,
        base="",
        epoch=EPOCH,
        size=layer.size,
        layers=(LayerRecord(layer.digest, layer.size, layer.purpose),),
        layout=output.root,
    )
    output.keep_lock(record, kept)
    output.add(record)
    return record


@dataclasses.dataclass
class Site:
    """This machine as one that bakes, signs and runs."""

    root: Path
    state: Path
    haproxy: Haproxy
    client: docker.DockerClient
    base: BakeRecord | None = None

    @property
    def output(self) -> Output:
        """The output folder of the bakes."""
        return Output(str(self.root / "output"))

    def key(self, name: str) -> Path:
        """Return a private key made as docs/attest.md says, its public half beside it."""
        path = self.root / f"{name}.pem"
        if not path.exists():
            made = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
            subprocess.run([*made, "-out", str(path)], check=True, stderr=subprocess.DEVNULL)
            public = ["openssl", "pkey", "-in", str(path), "-pubout"]
            subprocess.run([*public, "-out", str(path.with_suffix(".pub"))], check=True)
        return path

    def recipe(self, version: str, name: str) -> str:
        """Write an app's recipe, serving its version."""
        assert self.base is not None
        folder = self.root / f"{name.replace('/', '-')}-{version}"
        if not folder.exists():
            (folder / "www").mkdir(parents=True)
            (folder / "www/readyz").write_text('{"status": "ok"}')
            (folder / "www/index.html").write_text(version)
            values = {"name": name, "version": version, "base": self.base.reference}
            (folder / "bake.yml").write_text(APP % values)
        return str(folder / "bake.yml")

    def bake(self, version: str, name: str = f"{RUN}/web") -> BakeRecord:
        """Lock, bake and load an app."""
        params: dict[str, Any] = {
            "recipes": [self.recipe(version, name)],
            "output": self.output.root,
            "store": str(self.root / "store"),
            "state_dir": str(self.state),
            "engine": {},
            "concurrency": 1,
            "load": True,
            "archive": False,
            "upgrade": False,
            "upgrade_packages": [],
            "unknown_packages": "fail",
            "fetch": True,
            "epoch": EPOCH,
            "arch": None,
        }
        front.lock_images(params, check=False)
        front.bake_images(params, check=False)
        record = self.output.find(name, version)
        assert record is not None
        return record

    def attest(self, record: BakeRecord, key: str, *, check: bool = False) -> dict[str, Any]:
        """Run the module as Ansible does."""
        arguments = {
            "recipes": [self.recipe(record.version, record.name)],
            "output": self.output.root,
            "key": str(self.key(key)),
            "state_dir": str(self.state),
            "_ansible_check_mode": check,
        }
        done = subprocess.run(
            [sys.executable, image_attest.__file__],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def signature(self, record: BakeRecord) -> Path:
        """Return the file with the signature of an image on this host."""
        return Path(host_signature_path(str(self.state), record.image_id))

    def spec(self, record: BakeRecord, **more: Any) -> dict[str, Any]:
        """Return the spec of a release that must verify its image."""
        balancer = {
            "driver": "haproxy",
            "socket": str(self.haproxy.socket),
            "master_socket": str(self.haproxy.master),
            "config": str(self.haproxy.config),
            "backend": "shop",
        }
        web = {
            "replicas": 1,
            "port": 8080,
            "readiness": {"successes": 1, "timeout": 20},
            "resources": {"memory": "32m", "cpus": 0.5, "pids": 32},
            "stop": {"grace_period": 3},
        }
        return {
            "app": RUN,
            "image": record.reference,
            "version": record.version,
            "network": f"{RUN}-net",
            "processes": {"web": web},
            "load_balancers": [balancer],
            "verify": "required",
            "verify_keys": [self.key("ours").with_suffix(".pub").read_text()],
            **more,
        }

    def plan(self, record: BakeRecord) -> dict[str, Any]:
        """Plan as the module does."""
        params = {"spec": self.spec(record), "to": "", "state_dir": str(self.state), "engine": {}}
        return plan_release(params)

    def variables(self, record: BakeRecord, **more: Any) -> dict[str, Any]:
        """Return the variables of that release for the playbook; its key is a file on the controller."""
        keys = [str(self.key("ours").with_suffix(".pub"))]
        spec = self.spec(record, **{"verify_keys": keys, "state_dir": str(self.state), **more})
        return {f"release_{key}": value for key, value in spec.items()}

    def start(self, variables: dict[str, Any]) -> subprocess.Popen[str]:
        """Start the playbook."""
        command = [str(PLAYBOOK), "-i", str(ROOT / "inventories/local"), "-l", "local"]
        command += ["immutable.cutover.replace", "-e", json.dumps(variables)]
        env = environment() | {"ANSIBLE_NOCOLOR": "1"}
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def replace(self, variables: dict[str, Any]) -> tuple[int, str]:
        """Run the playbook to its end."""
        process = self.start(variables)
        text, _errors = process.communicate(timeout=120)
        return process.returncode, text

    def running(self) -> list[Any]:
        """Return the app's containers."""
        found = self.client.containers.list(all=True, filters={"name": f"{RUN}-web"})
        return sorted(found, key=lambda item: str(item.name))

    def traces(self) -> object:
        """Return what a refused run must leave as it was."""
        files = (path for path in self.state.rglob("*") if path.is_file())
        containers = [(item.id, item.status) for item in self.running()]
        return (
            {str(path): path.read_bytes() for path in files},
            containers,
            self.haproxy.driver().targets(),
        )


def _clean(client: docker.DockerClient) -> None:
    for container in client.containers.list(all=True, filters={"name": RUN}):
        container.remove(force=True)
    for network in client.networks.list(names=[f"{RUN}-net"]):
        network.remove()
    for image in client.images.list(f"{RUN}/*"):
        client.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("attest")
    state = Path(f"/var/lib/immutable-cutover-test-{RUN}")
    client = docker.DockerClient(timeout=120)
    haproxy = Haproxy(root)
    made = Site(root, state, haproxy, client)
    try:
        haproxy.start()
        client.networks.create(f"{RUN}-net")
        made.base = add_base(root, made.output)
        yield made
    finally:
        haproxy.kill()
        _clean(client)
        client.close()
        shutil.rmtree(state, ignore_errors=True)


def _other_repository(site: Site, record: BakeRecord) -> None:
    other = site.bake(record.version, f"{RUN}/evil")
    site.attest(other, "ours")
    shutil.copy(site.signature(other), site.signature(record))


def _other_image(site: Site, record: BakeRecord) -> None:
    other = site.bake("9.0.0")
    site.attest(other, "ours")
    shutil.copy(site.signature(other), site.signature(record))


def _truncated(site: Site, record: BakeRecord) -> None:
    site.attest(record, "ours")
    path = site.signature(record)
    path.write_bytes(path.read_bytes()[:-20])


Prepare = Callable[[Site, BakeRecord], object]
CASES: list[tuple[str, Prepare, str]] = [
    # The image is loaded, and the step that signs never ran or was killed.
    ("unsigned", lambda site, record: None, "is not signed, or its signature is not on this host"),
    (
        "wrong key",
        lambda site, record: site.attest(record, "other"),
        "is not signed by a key of verify_keys",
    ),
    ("other repository", _other_repository, f"is signed for repository {RUN}/evil"),
    ("other image", _other_image, "has the signature of another image"),
    ("truncated", _truncated, "truncated or not a DSSE envelope"),
]


@pytest.mark.parametrize(
    ("number", "prepare", "says"),
    [pytest.param(number, *case[1:], id=case[0]) for number, case in enumerate(CASES)],
)
def test_se_19_refused_before_anything_changes(
    site: Site, number: int, prepare: Prepare, says: str
) -> None:
    record = site.bake(f"0.{number}.0")
    assert site.client.images.get(record.image_id).id == record.image_id
    prepare(site, record)
    before = site.traces()
    with pytest.raises(CutoverError) as caught:
        site.plan(record)
    assert says in caught.value.message
    assert record.reference in caught.value.message
    assert site.traces() == before


def test_se_19_the_playbook_refuses_an_unsigned_image_before_anything_changes(site: Site) -> None:
    record = site.bake("0.9.0")
    before = site.traces()
    code, text = site.replace(site.variables(record))
    assert code != 0, text
    assert f"verify: image {record.reference} is not signed" in " ".join(text.split()), text
    assert site.traces() == before


def test_se_18_a_tag_that_moves_between_verify_and_run_changes_nothing(site: Site) -> None:
    record, evil = site.bake("1.0.0"), site.bake("6.6.6", f"{RUN}/evil")
    assert site.attest(record, "ours", check=True)["changed"]
    assert site.attest(record, "ours")["images"][0]["signed"]
    assert not site.attest(record, "ours")["changed"]
    # A release with a secret is planned, and its image verified, in a call of its own before the secret is placed.
    secret = site.root / "secret"
    secret.write_text("correct-horse")
    process = site.start(site.variables(record, secrets={"TOKEN": {"file": str(secret)}}))
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "TASK [immutable.cutover.release : Plan the release]" in line:
            break
    site.client.images.get(evil.image_id).tag(record.name, record.version)
    moved = time.time()
    said.append(process.stdout.read())
    assert process.wait(60) == 0, "".join(said)
    (container,) = site.running()
    assert container.attrs["Image"] == record.image_id
    assert _seconds(container.attrs["Created"]) > moved
    assert site.client.images.get(record.tag).id == evil.image_id
    assert site.haproxy.get("/")[1] == "1.0.0"


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def test_se_19_a_revoked_key_is_refused_and_what_runs_goes_on(site: Site) -> None:
    record = site.bake("2.0.0")
    site.attest(record, "ours")
    assert site.replace(site.variables(record))[0] == 0
    before = site.traces()
    other = str(site.key("other").with_suffix(".pub"))
    code, text = site.replace(site.variables(record, verify_keys=[other]))
    assert code != 0
    assert "is not signed by a key of verify_keys" in " ".join(text.split()), text
    assert site.traces() == before
    assert site.haproxy.get("/")[1] == "2.0.0"
    site.attest(record, "other")
    code, text = site.replace(site.variables(record, verify_keys=[other]))
    assert code == 0, text
    assert "changed=0" in text
