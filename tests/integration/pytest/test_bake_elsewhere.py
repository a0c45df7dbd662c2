# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""One lock, one digest: on this host, and in a container that is to Ansible what AWX starts for a job.

That execution environment is an image of our own: the base with Python, ansible-core, ansible-runner and this
collection. It shares nothing with this host but the locked inputs: not the user, host name, folders, file system, time
zone, locale, umask, hash seed or network, and it can reach no engine.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shlex
import shutil
import subprocess
import typing as t
from dataclasses import dataclass

import docker
import jinja2
import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._image import front
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from tests.integration.pytest.build_kitchen import module_params

ROOT = pathlib.Path(__file__).resolve().parents[3]
HOST = "unix:///var/run/docker.sock"
COLLECTION = "/usr/share/ansible/collections/ansible_collections/immutable/cutover"
BASE, APP, ENVIRONMENT = "icelse/base", "icelse/shop", "icelse/environment"
# What the phases bake, check and attest of an app import.
LIBRARIES = (
    "ansible-core>=2.19,<2.20",
    "ansible-runner",
    "cryptography",
    "cyclonedx-python-lib",
    "jsonschema",
    "packageurl-python",
    "python-debian",
    "rfc8785",
    "securesystemslib",
)
# A job's own folder is empty, and everything is copied there, as a project is cloned. The last line is the answer.
JOB = """
set -eu
umask {umask}
cd /runner
mkdir -p project inventory tmp
cp -r /mnt/inputs/shop "project/an app"
cp -r /mnt/inputs/output output
echo 'job ansible_connection=local ansible_python_interpreter=/usr/bin/python3' > inventory/hosts
{change}
ansible-runner run /runner -p immutable.cutover.bake --cmdline {words} >&2
python3 - <<'END'
import hashlib, json, os, pathlib, socket
output = pathlib.Path("output")
blobs = [hashlib.sha256(path.read_bytes()).hexdigest() for path in output.glob("blobs/sha256/*")]
record = json.loads((output / "records/{app}/1.0.0.json").read_text())
print(json.dumps({{"record": record, "blobs": blobs, "uid": os.getuid(), "host": socket.gethostname()}}))
END
"""
CHMOD = 'chmod 0755 "project/an app/src/shop/app.py"'
RELOCK = """python3 - <<'END'
import json
path = "project/an app/bake.lock"
with open(path) as stream:
    lock = json.load(stream)
(item,) = [item for item in lock["files"] if item["path"].endswith("shop/app.py")]
assert item["mode"] == "0644"
item["mode"] = "0755"
with open(path, "w") as stream:
    json.dump(lock, stream)
END"""


@dataclass(frozen=True)
class Host:
    """What was baked and described on this host, and the image that jobs run in."""

    inputs: pathlib.Path
    app: BakeRecord
    blobs: frozenset[str]
    environment: str


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    code: int
    said: str
    answer: t.Mapping[str, t.Any]


class Oven:
    """Bakes on this host, as the modules do."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root

    def params(self, recipe: str, **changes: t.Any) -> dict[str, t.Any]:
        """Return the options of a module."""
        own = {"epoch": 1_600_000_011, "key": None, "key_passphrase": None}
        return module_params(self.root, [recipe], **{**own, **changes})

    def bake(self, recipe: str, **changes: t.Any) -> BakeRecord:
        """Lock and bake."""
        front.lock_images(self.params(recipe), check=False)
        result = front.bake_images(self.params(recipe, **changes), check=False)
        return BakeRecord.from_mapping(result["images"][0]["record"], "result")

    def base(self) -> str:
        """Return the recipe of the base that comes with the role, under another name."""
        text = (ROOT / "roles/bake/files/recipes/base/bake.yml").read_text()
        return self._write("base", text.replace("base/py311", BASE))

    def app(self, base: BakeRecord) -> str:
        """Return the recipe of the sample app, rendered as the role does."""
        shutil.copytree(ROOT / "examples/shop", self.root / "inputs/shop")
        text = (ROOT / "examples/shop/bake.yml.j2").read_text()
        text = jinja2.Template(text).render(
            bake_images={"base/py311": {"reference": base.reference}},
            recipe={"version": "1.0.0", "context": "."},
        )
        return self._write("inputs/shop", text.replace("shop/web", APP))

    def environment(self, base: BakeRecord) -> str:
        """Return the recipe of an execution environment."""
        folder = self.root / "environment"
        for name in ("plugins", "roles", "playbooks", "meta"):
            shutil.copytree(ROOT / name, folder / "collection" / name)
        shutil.copy(ROOT / "galaxy.yml", folder / "collection")
        (folder / "requirements.in").write_text("".join(f"{name}\n" for name in LIBRARIES))
        recipe = {
            "bake": 1,
            "kind": "app",
            "name": ENVIRONMENT,
            "version": "1.0.0",
            "base": base.reference,
            "python": {"requirements": "requirements.in"},
            "files": [{"src": "collection/", "dest": COLLECTION}],
            # No workdir: what is there already keeps its own mode when something is mounted on it.
            "config": {"user": "1000:0", "env": {"HOME": "/runner"}},
        }
        return self._write("environment", yaml.safe_dump(recipe))

    def _write(self, folder: str, text: str) -> str:
        path = self.root / folder / "bake.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)


@pytest.fixture(scope="module")
def engine() -> t.Iterator[docker.DockerClient]:
    """Return the engine; remove what these tests left on it."""
    client = docker.DockerClient(HOST, timeout=120)
    _clean(client)
    yield client
    _clean(client)
    client.close()


def _clean(client: docker.DockerClient) -> None:
    for container in client.containers.list(all=True, filters={"label": ENVIRONMENT}):
        container.remove(force=True)
    for image in client.images.list(ENVIRONMENT):
        client.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, engine: docker.DockerClient) -> Host:
    """Return what this host baked; what a job begins with lies in the folder inputs."""
    root = tmp_path_factory.mktemp("elsewhere")
    oven = Oven(root)
    base = oven.bake(oven.base())
    shutil.copytree(root / "output", root / "inputs/output", copy_function=os.link)
    app = oven.app(base)
    record = oven.bake(app)
    front.attest_images(oven.params(app), check=False)
    blobs = frozenset(path.name for path in (root / "output/blobs/sha256").iterdir())
    environment = oven.bake(oven.environment(base), load=True)
    shutil.copytree(root / "store", root / "inputs/store", copy_function=os.link)
    # Whoever hands a folder over to another user lets that user read it.
    subprocess.run(["chmod", "-R", "a+rX", str(root / "inputs")], check=True)
    return Host(root / "inputs", record, blobs, environment.image_id)


def job(engine: docker.DockerClient, host: Host, change: str = "", umask: str = "0027") -> Ended:
    """Bake the app in an execution environment that is as unlike this host as it can be."""
    variables = {
        "bake_recipes": ["/runner/project/an app/bake.yml"],
        "bake_output": "/runner/output",
        "bake_store": "/mnt/inputs/store",
        "bake_state_dir": "/runner/state",
        "bake_load": False,
        "bake_install_packages": False,
    }
    words = f"-e {shlex.quote(json.dumps(variables))} --tags bake,check,attest"
    script = JOB.format(umask=umask, change=change, words=shlex.quote(words), app=APP)
    number = random.randrange(100_000, 1_000_000)
    container = engine.containers.create(
        host.environment,
        ["sh", "-c", script],
        labels={ENVIRONMENT: ""},
        hostname=f"job-{number}",
        user=f"{number}:0",
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs={"/runner": "mode=0770,gid=0,uid=0,size=1g"},
        volumes={str(host.inputs): {"bind": "/mnt/inputs", "mode": "ro"}},
        environment={
            "TMPDIR": "/runner/tmp",
            "TZ": "Pacific/Kiritimati",
            "LANG": "C",
            "LC_TIME": "POSIX",
            "PYTHONHASHSEED": str(number),
        },
    )
    try:
        container.start()
        code = int(container.wait(timeout=300)["StatusCode"])
        said = container.logs(stdout=True, stderr=True).decode()
        answer = json.loads(container.logs(stderr=False)) if code == 0 else {}
    finally:
        container.remove(force=True)
    return Ended(code, said, answer)


def test_a_job_in_an_execution_environment_bakes_the_same_digest(
    engine: docker.DockerClient, host: Host
) -> None:
    ended = job(engine, host)
    assert ended.code == 0, ended.said
    answer = ended.answer
    assert answer["uid"] >= 100_000 and answer["host"].startswith("job-")
    record = BakeRecord.from_mapping(answer["record"], "the job")
    assert (record.manifest_digest, record.image_id) == (
        host.app.manifest_digest,
        host.app.image_id,
    )
    assert record.layers == host.app.layers
    assert set(answer["blobs"]) == host.blobs, "bill of materials and provenance are the same, too"


def test_a_job_that_is_given_another_mode_is_refused(
    engine: docker.DockerClient, host: Host
) -> None:
    ended = job(engine, host, CHMOD)
    assert ended.code != 0
    assert "lock does not match files" in ended.said


def test_a_job_that_is_given_another_mode_and_lock_bakes_another_digest(
    engine: docker.DockerClient, host: Host
) -> None:
    ended = job(engine, host, f"{CHMOD}\n{RELOCK}")
    assert ended.code == 0, ended.said
    record = BakeRecord.from_mapping(ended.answer["record"], "the job")
    assert record.layers[:-1] == host.app.layers[:-1]
    assert record.layers[-1] != host.app.layers[-1]
    assert record.manifest_digest != host.app.manifest_digest
