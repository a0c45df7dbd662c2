# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Configuration, read once and only from the environment; every mistake is reported at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

DEFAULT_SECRET = "/run/secrets/DATABASE_URL"
LEVELS = ("debug", "info", "warning", "error")
VERSION_FILE = Path(__file__).resolve().parent.parent / "VERSION"


class ConfigError(Exception):
    """The environment does not describe a runnable app."""


@dataclass(frozen=True)
class Faults:
    """Misbehaviour on request, for tests of the cutover; everything is off by default."""

    fail_ready: bool = False
    flap: float = 0.0
    exit_after: float | None = None
    ignore_sigterm: bool = False
    error_rate: float = 0.0


@dataclass(frozen=True)
class Config:
    """What the app was told; a secret's value is deliberately not part of it."""

    port: int
    host: str
    version: str
    instance: str
    log_level: str
    access_log: bool
    greeting: str
    startup_delay: float
    keep_alive: int
    drain_timeout: float
    database_configured: bool
    faults: Faults


def _flag(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ValueError("must be one of 1, 0, true, false, yes, no")
    return words[text.lower()]


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError("must be between 1 and 65535")
    return port


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3600:
        raise ValueError("must be between 0 and 3600 seconds")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("must be between 0 and 1")
    return value


def _level(text: str) -> str:
    if text.lower() not in LEVELS:
        raise ValueError("must be one of " + ", ".join(LEVELS))
    return text.lower()


class _Reader:
    """Reads variables and collects what is wrong, so that one start shows all mistakes."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.problems: list[str] = []

    def get(self, name: str, parse: Callable[[str], T], default: T) -> T:
        text = self.env.get(name, "")
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as exc:
            self.problems.append(f"{name}={text!r}: {exc}")
            return default

    def secret(self) -> bool:
        """Whether the database secret can be read; its value is never kept or shown."""
        named = self.env.get("DATABASE_URL_FILE", "")
        required = self.get("DATABASE_URL_REQUIRED", _flag, False)
        path = Path(named or DEFAULT_SECRET)
        try:
            configured = bool(path.read_text(encoding="utf-8").strip())
            reason = "is empty"
        except (OSError, UnicodeDecodeError) as exc:
            configured, reason = False, getattr(exc, "strerror", None) or "is not text"
        if not configured and (named or required):
            self.problems.append(f"DATABASE_URL_FILE: {path}: {reason}")
        return configured


def read_version(env: Mapping[str, str]) -> str:
    """The version: APP_VERSION if set, else the VERSION file baked beside the package."""
    if env.get("APP_VERSION"):
        return env["APP_VERSION"]
    try:
        return VERSION_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


def load(env: Mapping[str, str]) -> Config:
    """Read the whole configuration, or raise one error that names every wrong variable."""
    reader = _Reader(env)
    faults = Faults(
        fail_ready=reader.get("FAIL_READY", _flag, False),
        flap=reader.get("FLAP", _seconds, 0.0),
        exit_after=reader.get("EXIT_AFTER", _seconds, None),
        ignore_sigterm=reader.get("IGNORE_SIGTERM", _flag, False),
        error_rate=reader.get("ERROR_RATE", _rate, 0.0),
    )
    config = Config(
        port=reader.get("PORT", _port, 8080),
        host=env.get("HOST") or "0.0.0.0",
        version=read_version(env),
        instance=env.get("INSTANCE") or env.get("HOSTNAME") or "unknown",
        log_level=reader.get("LOG_LEVEL", _level, "info"),
        access_log=reader.get("ACCESS_LOG", _flag, True),
        greeting=env.get("GREETING") or "Welcome to the shop",
        startup_delay=reader.get("STARTUP_DELAY", _seconds, 0.0),
        keep_alive=int(reader.get("KEEP_ALIVE", _seconds, 75.0)),
        drain_timeout=reader.get("DRAIN_TIMEOUT", _seconds, 25.0),
        database_configured=reader.secret(),
        faults=faults,
    )
    if reader.problems:
        raise ConfigError("; ".join(reader.problems))
    return config
