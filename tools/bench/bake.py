# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""`python -m tools.bench.bake`: what baking costs over what people do without it, as ratios into build/bench.json.

bake_app: an app of wheels and files, warm store, over `docker build --no-cache` of the equivalent Dockerfile, which
only unpacks the same wheels (no pip, so it is faster than most). rebase: apps put on a fixed base in one call, over
building each anew with that Dockerfile. bake_base: over bare mmdebstrap from a folder with the same packages.
bake_noop: a task that bakes what is baked and loaded, over a ping task, the start of the playbook taken off both.
Everything else is a whole process: the module's Python on one side, with its imports compiled as the module leaves them
on a host, and the docker client on the other. Both sides work in turn, because a machine is not equally busy all the
time. same_digest: how many of all bakes gave the digest they must, over all backends: the app is also baked by an
engine, as commands that run in a container and as a Dockerfile.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._image import bootstrap, front, lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_plan import BACKENDS
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import run_tool
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store
from tools.bench.figures import note
from tools.bench.process import measure
from tools.sample import PLAYBOOK, ROOT, environment

FOLDER = ROOT / "build" / "bench" / "bake"
COMPILED = FOLDER / "compiled"
COLLECTION = "ansible_collections/immutable/cutover"
STORE = ROOT / ".cache" / "store"
BASE, APP = "cutover-bench/base", "cutover-bench/app"
TARGETS = {"bake_app": 0.2, "rebase": 0.1, "bake_base": 1.15, "bake_noop": 1.5}
APPS, BASE_ROUNDS, BAKES, REPEATS = 5, 3, 20, 10
ENGINE_BAKES = 3
_STEP = (
    "import importlib, json, sys; job = json.load(open(sys.argv[1])); "
    "module = importlib.import_module("
    "'ansible_collections.immutable.cutover.plugins.module_utils._image.' + job['module']); "
    "print(json.dumps(getattr(module, job['function'])(job['params'], check=False)['images']))"
)


class Bakes:
    """A base, its fix, and apps on it, in a folder of their own."""

    def __init__(self) -> None:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        shutil.copytree(ROOT / "plugins", COMPILED / COLLECTION / "plugins")
        compileall.compile_dir(str(COMPILED), quiet=1)
        self.result: dict[str, float | int] = {}
        self.digests: dict[str, set[str]] = {}
        self.bakes = 0

    def run(self) -> dict[str, float | int]:
        """Measure everything, in the order in which one needs the other."""
        base = self._write("base/bake.yml", _base("1.0.0"))
        self._lock(base)
        self._base(base)
        reference = self._bake(base, load=True)[0]["reference"]
        apps = [self._app(number, reference) for number in range(APPS)]
        self._lock(*apps)
        self._call("front", "fetch_images", _params(apps))
        self._apps(apps[0])
        self._noop(apps[0])
        self._rebase(base, apps)
        equal = all(len(digests) == 1 for digests in self.digests.values())
        self.result |= {"same_digest": int(equal) * self.bakes, "same_digest_of": self.bakes}
        print(f"same_digest: {self.result['same_digest']} of {self.bakes}", flush=True)
        return self.result

    def _write(self, name: str, content: Mapping[str, Any]) -> str:
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
        return str(path)

    def _app(self, number: int, base: str) -> str:
        folder = FOLDER / f"app{number}"
        shutil.copytree(ROOT / "examples" / "shop", folder)
        return self._write(f"app{number}/bake.yml", _app(f"{APP}{number}", base))

    def _lock(self, *recipes: str) -> None:
        found = {"upgrade": False, "upgrade_packages": [], "unknown_packages": "fail"}
        params = {**_params(recipes), **found, "epoch": None, "arch": None}
        front.lock_images(params, check=False)

    def _call(self, module: str, function: str, params: Mapping[str, Any]) -> float:
        """Run what a module does as a process of its own; return how long that took."""
        return self._step(module, function, params)[0]

    def _step(self, module: str, function: str, params: Mapping[str, Any]) -> tuple[float, Any]:
        job = FOLDER / "job.json"
        job.write_text(json.dumps({"module": module, "function": function, "params": params}))
        if function == "fetch_images":
            front.fetch_images(params, check=False)
            return 0.0, None
        done = measure(
            (sys.executable, "-c", _STEP, str(job)), cwd=ROOT, environment=_paths(COMPILED)
        )
        return done.seconds, json.loads(done.output.splitlines()[-1])

    def _bake(self, recipe: str, **changes: Any) -> Any:
        return self._step("front", "bake_images", _params([recipe], **changes))[1]

    def _again(self, recipe: str, **changes: Any) -> float:
        """Bake where no version of it is, so that nothing is reused; return how long it took."""
        output = FOLDER / "output"
        name = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))["name"]
        shutil.rmtree(output / "records" / name, ignore_errors=True)
        seconds, images = self._step("front", "bake_images", _params([recipe], **changes))
        self.digests.setdefault(recipe, set()).add(images[0]["reference"])
        self.bakes += 1
        return seconds

    def _base(self, recipe: str) -> None:
        front.fetch_images(_params([recipe]), check=False)
        command, variables = _bare_mmdebstrap(recipe)
        ours, bare = [], []
        for _round in range(BASE_ROUNDS):
            ours.append(self._again(recipe))
            bare.append(_seconds(command, variables))
        self._note("bake_base", ours, bare)

    def _apps(self, recipe: str) -> None:
        build = self._dockerfile(recipe, f"{BASE}:1.0.0")
        ours, builds = [], []
        others = [backend for backend in BACKENDS if backend != BACKENDS[0]]
        for number in range(BAKES - BASE_ROUNDS - ENGINE_BAKES * len(others)):
            ours.append(self._again(recipe))
            if number % 2 == 0:
                builds.append(_seconds(build))
        self._note("bake_app", ours, builds)
        for backend in others * ENGINE_BAKES:
            self._again(recipe, backend=backend)

    def _dockerfile(self, recipe: str, base: str) -> Sequence[str]:
        folder = Path(recipe).parent / "context"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(Path(recipe).parent / "src", folder / "src")
        locked = lock.read_lock(recipe.replace(".yml", ".lock"))
        assert locked is not None
        (folder / "wheels").mkdir()
        for wheel in locked.python:
            shutil.copy(Store(str(STORE)).path(wheel.sha256), folder / "wheels" / wheel.filename)
        unpack = "for w in /wheels/*; do python3 -m zipfile -e $w /opt/app/site-packages; done"
        (folder / "Dockerfile").write_text(
            f"FROM {base}\nCOPY wheels /wheels\nRUN {unpack}\nCOPY src /app\n"
            'ENV PYTHONPATH=/opt/app/site-packages\nUSER 10001\nCMD ["python", "-m", "shop"]\n'
        )
        options = ("--quiet", "--no-cache", "--network", "none", "--tag", f"{APP}-build:1.0.0")
        return ("docker", "build", *options, str(folder))

    def _noop(self, recipe: str) -> None:
        self._bake(recipe, load=True)
        params = _params([recipe], load=True)
        plays = {
            "bare": {"ansible.builtin.debug": {"msg": "x"}},
            "ping": {"ansible.builtin.ping": {}, "loop": list(range(REPEATS))},
            "noop": {"immutable.cutover.image": params, "loop": list(range(REPEATS))},
        }
        times: dict[str, list[float]] = {name: [] for name in plays}
        for _round in range(BASE_ROUNDS):
            for name, task in plays.items():
                play = [{"hosts": "local", "gather_facts": False, "tasks": [task]}]
                path = FOLDER / f"{name}.yml"
                path.write_text(yaml.safe_dump(play), encoding="utf-8")
                times[name].append(_seconds((str(PLAYBOOK), "-i", "inventories/local", str(path))))
        start = statistics.median(times["bare"])
        ours, ping = ([t - start for t in times[name]] for name in ("noop", "ping"))
        self._note("bake_noop", ours, ping)

    def _rebase(self, base: str, apps: Sequence[str]) -> None:
        for app in apps[1:]:
            self._bake(app)
        self._write("base/bake.yml", _base("1.0.1"))
        self._lock(base)
        fixed = self._bake(base, load=True)[0]["reference"]
        ours, builds = [], []
        kept = {path: Path(path).read_bytes() for app in apps for path in (app, app[:-3] + "lock")}
        for app in apps:
            for path, data in kept.items():
                Path(path).write_bytes(data)
            for number in range(APPS):
                (FOLDER / "output/records" / f"{APP}{number}/1.0.1.json").unlink(missing_ok=True)
            params = {**_params(apps), "base": fixed, "bump": "patch"}
            seconds, images = self._step("rebase_front", "rebase_images", params)
            assert {image["how"] for image in images} == {"rebased"}, images
            ours.append(seconds)
            builds.append(_seconds(self._dockerfile(app, f"{BASE}:1.0.1")))
        self._note("rebase", ours, [sum(builds)])
        self.result["rebase_apps"] = APPS

    def _note(self, name: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
        ratio = statistics.median(ours) / statistics.median(theirs)
        self.result |= {
            name: round(ratio, 2),
            f"{name}_seconds": round(statistics.median(ours), 2),
            f"{name}_base_seconds": round(statistics.median(theirs), 2),
            f"{name}_best": round(min(ours) / min(theirs), 2),
            f"{name}_rounds": len(ours),
            f"{name}_load_average": round(os.getloadavg()[0], 1),
        }
        print(
            f"{name}: {ratio:.2f} (target: at most {TARGETS[name]:g}); of the best times", end=" "
        )
        print(f"{self.result[f'{name}_best']:.2f}", flush=True)


def _base(version: str) -> dict[str, Any]:
    """Return the recipe of the base; the fix is another version with another setting and layer."""
    path = ROOT / "roles/bake/files/recipes/base/bake.yml"
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipe |= {"name": BASE, "version": version}
    if version != "1.0.0":
        recipe["files"] = [{"src": "bake.yml", "dest": "/etc/fixed"}]
    return recipe


def _app(name: str, base: str) -> dict[str, Any]:
    return {
        "bake": 1,
        "kind": "app",
        "name": name,
        "version": "1.0.0",
        "base": base,
        "python": {"requirements": "requirements.in"},
        "files": [{"src": "src/", "dest": "/app"}],
        "config": {"user": "10001", "workdir": "/app"},
        "entrypoints": {"web": ["python", "-m", "shop"]},
    }


def _params(recipes: Sequence[str], **changes: Any) -> dict[str, Any]:
    return {
        "recipes": list(recipes),
        "output": str(FOLDER / "output"),
        "store": str(STORE),
        "state_dir": str(FOLDER / "state"),
        "engine": {},
        "apt_sources": "/etc/apt",
        "concurrency": 2,
        "fetch": False,
        "load": False,
        "archive": False,
        **changes,
    }


def _bare_mmdebstrap(recipe: str) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return what somebody without this collection runs, on a folder with exactly the same packages."""
    locked = lock.read_lock(recipe.replace(".yml", ".lock"))
    assert locked is not None
    folder = FOLDER / "bare"
    folder.mkdir()
    repository = str(folder / "repository")
    bootstrap._write_repository("bookworm", locked, Store(str(STORE)), repository, run_tool)
    setup = folder / "setup.sh"
    setup.write_text(bootstrap._SETUP, encoding="utf-8")
    setup.chmod(0o755)
    work = folder / "work"
    work.mkdir()
    raw = str(folder / "root.tar")
    command = bootstrap._command("bookworm", locked, repository, str(setup), raw)
    return command, bootstrap._environment(locked.epoch, str(work))


def _seconds(command: Sequence[str], variables: Mapping[str, str] | None = None) -> float:
    return measure(command, cwd=ROOT, environment={**_paths(), **(variables or {})}).seconds


def _paths(collections: Path = ROOT / ".ansible" / "collections") -> dict[str, str]:
    return {**environment(), "PYTHONPATH": str(collections)}


def clean() -> None:
    """Remove the images of this bench from the engine, and its folder."""
    command = ("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "cutover-bench/*")
    tags = measure(command, cwd=ROOT, environment=os.environ).output.split()
    if tags:
        measure(("docker", "image", "rm", "--force", *tags), cwd=ROOT, environment=os.environ)
    shutil.rmtree(FOLDER, ignore_errors=True)


def measure_bakes(then: Callable[[Mapping[str, float | int]], None] = note) -> None:
    """Measure, note the figures, and leave nothing."""
    try:
        then(Bakes().run())
    finally:
        clean()


if __name__ == "__main__":
    measure_bakes()
