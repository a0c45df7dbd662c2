# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The generator as a process of its own: it shares no event loop with what it tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tools.loadgen.outcome import Row, read_rows

ROOT = Path(__file__).resolve().parents[2]


class LoadFailed(Exception):
    """The generator itself did not start or did not end properly."""


@dataclass(frozen=True)
class Result:
    """What a finished run wrote."""

    out: Path
    summary: dict[str, Any]

    @property
    def planned(self) -> int:
        return int(self.summary["requests"]["planned"])

    @property
    def accounted(self) -> int:
        return int(self.summary["requests"]["accounted"])

    @property
    def failed(self) -> int:
        return int(self.summary["requests"]["failed"])

    @property
    def failed_by_outcome(self) -> dict[str, int]:
        return dict(self.summary["requests"]["failed_by_outcome"])

    @property
    def failed_by_kind(self) -> dict[str, int]:
        return dict(self.summary["requests"]["failed_by_kind"])

    def rows(self) -> list[Row]:
        return list(read_rows(self.out / "rows.csv"))


class Load:
    """Load on a URL, from start() to stop(); also a context manager.

    `rate` scales the default mix (requests per second in all), `mix` sets the rate of each kind,
    `options` are further command line options of `python -m tools.loadgen`.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: float | None = None,
        mix: Mapping[str, float] | None = None,
        out: Path | str | None = None,
        seed: int = 1,
        duration: float | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.out = Path(out or tempfile.mkdtemp(prefix="loadgen-")).resolve()
        self.started_at = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._result: Result | None = None
        self._command = [sys.executable, "-m", "tools.loadgen", "--url", url]
        self._command += ["--out", str(self.out), "--seed", str(seed), "--until-eof", *options]
        if rate is not None:
            self._command += ["--rate", str(rate)]
        for kind, value in (mix or {}).items():
            self._command += ["--kind", f"{kind}={value}"]
        if duration is not None:
            self._command += ["--duration", str(duration)]

    def start(self) -> Load:
        """Start the process; returns once the first request is being planned."""
        if self._process is not None:
            raise LoadFailed("already started")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.startswith("started "):
            raise LoadFailed(f"exit code {self._process.wait()}: {' '.join(self._command)}")
        self.started_at = float(line.split()[1])
        return self

    def stop(self, timeout: float = 120.0) -> Result:
        """Plan no more, wait until everything planned has its outcome, and return the books."""
        if self._result is None and self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 120.0) -> Result:
        """Wait for a run with a duration to end by itself."""
        if self._result is not None:
            return self._result
        if self._process is None:
            raise LoadFailed("not started")
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired as exc:
            self._process.kill()
            self._process.wait()
            raise LoadFailed(f"did not end within {timeout:g} s") from exc
        finally:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        if code not in (0, 1) or not (self.out / "summary.json").exists():
            raise LoadFailed(f"exit code {code}, no summary in {self.out}")
        summary = json.loads((self.out / "summary.json").read_text(encoding="utf-8"))
        self._result = Result(self.out, summary)
        return self._result

    def __enter__(self) -> Load:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
