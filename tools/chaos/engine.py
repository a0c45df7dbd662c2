# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""An engine of the harness's own, which may be stopped and started: never the one that the machine has."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.chaos.process import eventually
from tools.sample import environment

PATIENCE = 60.0


class NoEngine(Exception):
    """No second engine can run on this machine; the text says why."""


class OwnEngine:
    """A dockerd with everything of its own below one folder, and networks from a range of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid_file = folder / "dockerd.pid"
        self._socket = folder / "docker.sock"
        # Two checkouts on one machine get different ranges; neither is one that an engine takes by itself.
        third = 200 + int(hashlib.sha256(str(folder).encode()).hexdigest(), 16) % 50
        self._pool = f"base=10.{third}.0.0/16,size=24"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start it and wait until it answers; raises NoEngine with the end of its log."""
        if shutil.which("dockerd") is None:
            raise NoEngine("there is no dockerd on this machine")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        command = ["dockerd", f"--host={self.url}", f"--pidfile={self._pid_file}"]
        command += [f"--data-root={self._folder / 'data'}", f"--exec-root={self._folder / 'exec'}"]
        # Nobody outside this machine is asked, so it needs no rules of the packet filter.
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        command += [f"--default-address-pool={self._pool}"]
        with (self._folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self._folder / "dockerd.log").read_text(errors="replace")
                raise NoEngine(f"a second dockerd does not start: {log_text[-1500:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        return self.docker("version", check=False).returncode == 0

    def docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run a docker command on it."""
        return subprocess.run(
            ["docker", *words], env=environment(self.url), capture_output=True, check=check
        )

    def load(self, images: Sequence[str]) -> None:
        """Copy images from the machine's engine, unless they are there."""
        missing = [
            name for name in images if self.docker("inspect", name, check=False).returncode != 0
        ]
        if not missing:
            return
        saved = subprocess.Popen(["docker", "save", *missing], stdout=subprocess.PIPE)
        subprocess.run(
            ["docker", "load"],
            env=environment(self.url),
            stdin=saved.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        if saved.wait() != 0:
            raise NoEngine(f"docker save {' '.join(missing)} failed")

    def restart(self) -> None:
        """Stop it, which ends its containers, and start it again."""
        self._end()
        self.start()

    def suspend(self) -> None:
        """Have it answer nothing."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it answer again."""
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self) -> None:
        if self._process is not None:
            self.resume()
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None

    def remove(self) -> None:
        """End it, and leave nothing of it."""
        if self._process is not None:
            self.resume()
            # One that did not start answers nothing.
            found = self.docker("ps", "-aq", check=False).stdout.decode().split()
            if found:
                self.docker("rm", "-f", *found, check=False)
            self.docker("network", "prune", "-f", check=False)
            self._end()
        for mounted in (self._folder / "exec" / "netns" / "default", self._folder / "data"):
            # Each start mounts it once more.
            while (
                subprocess.run(["umount", mounted], capture_output=True, check=False).returncode
                == 0
            ):
                pass
        shutil.rmtree(self._folder, ignore_errors=True)

    def end_stale(self) -> None:
        """End one that a killed run of this harness left."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text(encoding="ascii"))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if f"--pidfile={self._pid_file}".encode() in words:
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
                eventually(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE)


@contextlib.contextmanager
def own_engine(folder: Path) -> Iterator[OwnEngine]:
    """Run one for as long as it is needed."""
    engine = OwnEngine(folder)
    engine.end_stale()
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()
