# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The main job, for real: bake, deploy, replace under load, roll back under load, and leave a receipt.

Usage: demo.py [--again]. Without --again a finished demo whose inputs and releases are unchanged is only
confirmed. Environment: DEMO_PORT (where clients connect, default 8480), DEMO_RATE (requests/s, default 320).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version as library_version
from typing import Any

from tools import receipt
from tools.loadgen import Load
from tools.sample import ROOT, Sample, SampleFailed, ago, images

FOLDER = ROOT / "build" / "demo"
MARGIN = 4.0  # seconds of load before and after each cutover, to compare with
OLD, NEW = "1.0.0", "1.1.0"


@dataclass(frozen=True)
class Act:
    """One cutover of the demo: its name, the playbook, the spec and the folder of its load."""

    name: str
    playbook: str
    spec: str
    load: str


ACTS = (
    Act(f"replace {OLD} -> {NEW}", "replace", f"shop-{NEW}.yml", "load-replace"),
    Act(f"rollback {NEW} -> {OLD}", "rollback", f"shop-{NEW}.yml", "load-rollback"),
)


def say(text: str) -> None:
    """Print a heading of the demo."""
    print(f"\n== {text}", flush=True)


def main() -> int:
    """Exit code 0: both cutovers lost nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--again", action="store_true", help="cut over again even if nothing changed"
    )
    again = parser.parse_args().again
    sample = Sample("shop", FOLDER, int(os.environ.get("DEMO_PORT", "8480")))
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        say("bake the images and run the load balancer")
        sample.prepare()
        write_specs(sample)
        say(f"deploy {OLD}, unless it runs")
        sample.run("replace", FOLDER / f"shop-{OLD}.yml")
        if not again and confirmed(sample):
            return 0
        for act in ACTS:
            cut_over(sample, act)
    except SampleFailed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return report(sample)


def write_specs(sample: Sample) -> None:
    """Leave the two specs as a user would write them."""
    secret = FOLDER / "database_url"
    if not secret.exists():
        with open(
            os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8"
        ) as stream:
            stream.write(f"postgresql://shop:{secrets.token_hex(12)}@db.internal/shop")
    for version in (OLD, NEW):
        spec = sample.spec(
            version,
            release_env={
                "STARTUP_DELAY": "1",
                "ACCESS_LOG": "0",
                "DATABASE_URL_FILE": "/run/secrets/DATABASE_URL",
            },
            release_secrets={"DATABASE_URL": {"file": str(secret)}},
        )
        sample.write(f"shop-{version}.yml", spec)


def confirmed(sample: Sample) -> bool:
    """Say that an earlier demo still holds: same images, and its receipt is there."""
    path, digests = FOLDER / "receipt.json", FOLDER / "digests.json"
    if not path.exists() or not digests.exists() or json.loads(digests.read_text()) != baked():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    say("nothing changed since the last demo")
    for name, reference in baked().items():
        print(f"unchanged: {name} is {reference}")
    print(f"unchanged: {OLD} runs with 4 replicas behind {sample.url}")
    print(f"unchanged: receipt of {ago(path.stat().st_mtime)}, {path} and receipt.html beside it")
    for cutover in found["cutovers"]:
        print(f"  {cutover['name']}: {summary(cutover['requests'])}")
    print("`make demo AGAIN=1` cuts over again; `make clean` removes all of it.")
    return True


def baked() -> dict[str, str]:
    """Return the digests of everything that was baked."""
    return {name: image["reference"] for name, image in images().items() if ":" in name}


def cut_over(sample: Sample, act: Act) -> None:
    """Run one cutover under load."""
    rate = float(os.environ.get("DEMO_RATE", "320"))
    say(f"{act.name}, under {rate:g} requests/s")
    with Load(sample.url, rate=rate, out=FOLDER / act.load) as load:
        time.sleep(MARGIN)
        sample.run(act.playbook, FOLDER / act.spec)
        time.sleep(MARGIN)
        result = load.stop()
    print(
        f"{act.name}: {summary({'planned': result.planned, 'accounted': result.accounted, 'failed': result.failed})}"
    )


def summary(requests: dict[str, Any]) -> str:
    """Say what became of the requests."""
    return f"{requests['planned']} planned, {requests['accounted']} accounted for, {requests['failed']} failed"


def report(sample: Sample) -> int:
    """Write the receipt and print it."""
    cutovers = [receipt.Cutover(act.name, FOLDER / act.load, sample.journal) for act in ACTS]
    built = receipt.build(sample.name, cutovers, tools(sample))
    receipt.write(built, FOLDER)
    (FOLDER / "digests.json").write_text(json.dumps(baked(), indent=1) + "\n", encoding="utf-8")
    print("\n" + receipt.render_text(built))
    print(f"\nReceipt: {FOLDER / 'receipt.json'}\nTimeline: {FOLDER / 'receipt.html'}")
    requests = [cutover["requests"] for cutover in built["cutovers"]]
    lost = any(item["failed"] or item["planned"] != item["accounted"] for item in requests)
    return 1 if lost else 0


def tools(sample: Sample) -> dict[str, str]:
    """Return the versions of what took part."""
    found = {
        "ansible-core": library_version("ansible-core"),
        "docker SDK": library_version("docker"),
    }
    for name, command, pattern in (
        ("Docker Engine", ["docker", "version", "--format", "{{.Server.Version}}"], r"(\S+)"),
        ("HAProxy", ["docker", "exec", sample.balancer, "haproxy", "-v"], r"version (\S+)"),
    ):
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        match = re.search(pattern, answer)
        if match:
            found[name] = match.group(1)
    return found


if __name__ == "__main__":
    sys.exit(main())
