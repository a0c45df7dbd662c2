# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""Bad input, row by row: every message is one line with the option path, what is allowed and what was found."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import parse_reference
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import parse_spec
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE,
    mapping,
    with_option,
    without_option,
)

WEB = "processes/web"
NAME = "must match [A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
DURATION = "must be a duration in whole seconds, 1-86400"
FIRST_LB = "load_balancers/0"

# (id, option path, value, path in the message, what is allowed, what was found)
OPTIONS: list[tuple[str, str, object, str, str, str]] = [
    ("B05-near", "retian", 3, "retian", "is an unknown option; did you mean retain?", "'retian'"),
    ("B05-near-below", f"{WEB}/drain", {"timout": 3}, "processes.web.drain.timout", "did you mean timeout?", "'timout'"),
    ("B05-far", "xyzzy", 1, "xyzzy", "is an unknown option; known: app, env, fleet, image,", "'xyzzy'"),
    ("B07-injection", "app", "web;disable", "app", NAME, "'web;disable'"),
    ("B07-newline", "app", "web\nshow stat", "app", NAME, r"'web\nshow stat'"),
    ("B07-newline-at-end", "app", "web\n", "app", NAME, r"'web\n'"),
    ("B07-traversal", "app", "../x", "app", NAME, "'../x'"),
    ("B07-dash", "app", "-x", "app", NAME, "'-x'"),
    ("B07-process", "processes", {"web;disable": {"port": 1}}, "processes.web;disable", NAME, "'web;disable'"),
    ("B07-process-newline", "processes", {"web\nx": {"port": 1}}, r"processes.web\nx", NAME, r"'web\nx'"),
    ("B07-network", "network", "a b", "network", NAME, "'a b'"),
    ("B08", "app", "a" * 64, "app", "must not be longer than 63 characters", "'aaaa"),
    ("B08-together", "app", "a" * 60, "processes.web", "together must not be longer than 49", "'web'"),
    ("B08-together-dash", "processes", {"we-b" * 11: {"port": 1}}, f"processes.{'we-b' * 11}", "(each - of the process counts twice)", "'we-b"),
    ("B07-unclear", "processes", {"web-_x": {"port": 1}}, "processes.web-_x", "must not have a _ next to another _ or to a -", "'web-_x'"),
    ("B09-zero-width", "app", "shop\u200b", "app", "non-ASCII character U+200B at position 4", r"'shop\u200b'"),
    ("B09-look-alike", "app", "sh\u043ep", "app", "non-ASCII character U+043E at position 2", "'sh\u043ep'"),
    ("B11-backend", "load_balancers", [{"socket": "/s", "backend": "b"}] * 2, "load_balancers[1].backend", "is claimed by web in load_balancers[0] too", "'b'"),
    ("B07-task", "tasks", {"a b": {"command": ["x"]}}, "tasks.a b", NAME, "'a b'"),
    ("B08-task", "tasks", {"m" * 45: {"command": ["x"]}}, f"tasks.{'m' * 45}", "must not be longer than 44 characters in app shop", "'mmm"),
    ("B05-task", "tasks", {"m": {"command": ["x"], "cmd": 1}}, "tasks.m.cmd", "is an unknown option; did you mean command?", "'cmd'"),
    ("B05-task-when", "tasks", {"m": {"command": ["x"], "when": "later"}}, "tasks.m.when", "must be one of before_traffic, after", "string 'later'"),
    ("B33-task", "tasks", {"m": {"timeout": 9}}, "tasks.m.command", "must be a list of program and arguments", "found list"),
    ("B19-task", "tasks", {"m": {"command": ["x"], "rollback_safe": False}}, "tasks.m.when", "must be after, because rollback_safe", "'before_traffic'"),
    ("B12-zero", f"{WEB}/port", 0, "processes.web.port", "must be an integer 1-65535", "found 0"),
    ("B12-high", f"{WEB}/port", 65536, "processes.web.port", "must be an integer 1-65535", "found 65536"),
    ("B12-text", f"{WEB}/port", "80a", "processes.web.port", "must be an integer 1-65535", "string '80a'"),
    ("B12-boolean", f"{WEB}/port", True, "processes.web.port", "must be an integer 1-65535", "boolean true"),
    ("B17-zero", f"{WEB}/replicas", 0, "processes.web.replicas", "must be an integer 1-100", "found 0"),
    ("B17-negative", f"{WEB}/replicas", -1, "processes.web.replicas", "must be an integer 1-100", "found -1"),
    ("B17-fraction", f"{WEB}/replicas", 1.5, "processes.web.replicas", "must be an integer 1-100", "found 1.5"),
    ("B17-many", f"{WEB}/replicas", 10000, "processes.web.replicas", "must be an integer 1-100", "found 10000"),
    ("B18", "strategy", {"max_surge": 0}, "strategy.max_surge", "must be above 0 when max_unavailable is 0", "found 0"),
    ("B18-share", "strategy", {"max_surge": "0%", "max_unavailable": "49%"}, "strategy.max_surge", "must be above 0", "found 0"),
    ("B19-blue-green", "strategy", {"type": "blue_green", "max_surge": 2}, "strategy.max_surge", "has no meaning with type blue_green", "found 2"),
    ("B19-recreate", "strategy", {"type": "recreate", "max_unavailable": 1}, "strategy.max_unavailable", "has no meaning with type recreate", "found 1"),
    ("B19-approval", "strategy", {"approval": True}, "strategy.approval", "has no meaning with type rolling, only with blue_green", "found boolean true"),
    ("B19-two-phase", "strategy", {"two_phase": True}, "strategy.two_phase", "has no meaning with type rolling, only with blue_green", "found"),
    ("B19-pause", "strategy", {"type": "recreate", "pause": 5}, "strategy.pause", "has no meaning with type recreate, only with blue_green", "found 5"),
    ("B06-approval", "strategy", {"type": "blue_green", "approval": "yes"}, "strategy.approval", "must be true or false", "string 'yes'"),
    ("B27-delay", "strategy", {"type": "blue_green", "scale_down_delay": -1}, "strategy.scale_down_delay", "seconds, 0-86400", "found -1"),
    ("B05-held", "strategy", {"while_held": "queue"}, "strategy.while_held", "must be one of refuse, abort, wait", "string 'queue'"),
    ("B19-surge", "strategy", {"max_surge": 101}, "strategy.max_surge", "must be an integer 0-100 or a percentage", "found 101"),
    ("B19-share", "strategy", {"max_surge": "101%"}, "strategy.max_surge", "such as 25%", "string '101%'"),
    ("B19-negative", "strategy", {"max_unavailable": -1}, "strategy.max_unavailable", "must be an integer 0-100", "found -1"),
    ("B19-boolean", "strategy", {"max_surge": True}, "strategy.max_surge", "must be an integer 0-100", "boolean true"),
    ("B20", "strategy", {"type": "canary"}, "strategy.steps", "needs at least one step: weight: N, pause", "list"),
    ("B20-0", "strategy", {"type": "canary", "steps": [{"weight": -1}]}, "strategy.steps[0].weight", "canary weights must increase within 0-99", "-1"),
    ("B20-101", "strategy", {"type": "canary", "steps": [{"weight": 101}]}, "strategy.steps[0].weight", "canary weights must increase within 0-99", "101"),
    (
        "B20-down", "strategy", {"type": "canary", "steps": [{"weight": 9}, {"weight": 3}]}, "strategy.steps[1].weight",
        "canary weights must increase within 0-99", "3",
    ),
    ("B20-other-type", "strategy", {"steps": [{"weight": 9}]}, "strategy.steps", "has no meaning with type rolling, only with canary", "list"),
    (
        "B17-canary", "strategy", {"type": "canary", "replicas": 0, "steps": [{"weight": 9}]}, "strategy.replicas",
        "must be an integer 1-100 or a percentage", "0",
    ),
    (
        "B05-canary", "strategy", {"type": "canary", "steps": [{"weight": 9}], "max_error_rate": 1}, "strategy.max_error_rate",
        "is an unknown option", "'max_error_rate'",
    ),
    (
        "B25-source", "strategy", {"type": "canary", "steps": [{"weight": 9}], "analysis": {"url": "gopher://x/", "success_condition": "a"}},
        "strategy.analysis.url", "scheme must be http or https", "'gopher'",
    ),
    (
        "B26-source", "strategy",
        {"type": "canary", "steps": [{"weight": 9}], "analysis": {"url": "http://169.254.169.254/", "success_condition": "a"}},
        "strategy.analysis.url", "must not be a link-local", "'169.254.169.254'",
    ),
    ("B21-negative", f"{WEB}/drain", {"timeout": -5}, "processes.web.drain.timeout", DURATION, "found -5"),
    ("B21-zero", f"{WEB}/drain", {"timeout": 0}, "processes.web.drain.timeout", DURATION, "found 0"),
    ("B21-huge", f"{WEB}/readiness", {"timeout": 10**9}, "processes.web.readiness.timeout", DURATION, "found 1000000000"),
    ("B21-unit", f"{WEB}/stop", {"grace_period": "5 parsecs"}, "processes.web.stop.grace_period", DURATION, "'5 parsecs'"),
    ("B21-fraction", f"{WEB}/readiness", {"interval": 0.5}, "processes.web.readiness.interval", DURATION, "found 0.5"),
    ("B21-deadline", "strategy", {"progress_deadline": -1}, "strategy.progress_deadline", "seconds, 0-86400", "found -1"),
    ("B21-settle", "strategy", {"min_ready_seconds": -1}, "strategy.min_ready_seconds", "0-86400", "found -1"),
    ("B22", f"{WEB}/drain", {"timeout": 10, "longest_request": 30}, "processes.web.drain.timeout", "longest_request 30", "found 10"),
    ("B23", f"{WEB}/stop", {"grace_period": 10, "shutdown_time": 20}, "processes.web.stop.grace_period", "must not be below shutdown_time 20", "found 10"),
    ("B23-default", f"{WEB}/stop", {"shutdown_time": 31}, "processes.web.stop.grace_period", "must not be below shutdown_time 31", "found 30"),
    ("B21-shutdown", f"{WEB}/stop", {"shutdown_time": "20s"}, "processes.web.stop.shutdown_time", DURATION, "string '20s'"),
    ("B24", f"{WEB}/readiness", {"path": "readyz"}, "processes.web.readiness.path", "must start with /", "'readyz'"),
    ("B24-newline", f"{WEB}/readiness", {"path": "/a\r\nX: y"}, "processes.web.readiness.path", "no spaces", r"'/a\r\nX: y'"),
    ("B24-long-lived", f"{WEB}/drain", {"long_lived": {"timout": 5}}, "processes.web.drain.long_lived.timout", "did you mean timeout?", "'timout'"),
    ("B24-long-lived-pace", f"{WEB}/drain", {"long_lived": {"close_over": "30s"}}, "processes.web.drain.long_lived.close_over", "seconds, 0-86400", "'30s'"),
    ("B24-warm-up-ratio", f"{WEB}/warm_up", {"requests": ["/"], "max_p95_ratio": 0.5}, "processes.web.warm_up.max_p95_ratio", "must be a number 1-100", "0.5"),
    ("B24-warm-up-nothing", f"{WEB}/warm_up", {"max_p95_ratio": 1.5}, "processes.web.warm_up.requests", "needs a path", "found list"),
    ("B24-warm-up", f"{WEB}/warm_up", {"requests": ["/", "x"]}, "processes.web.warm_up.requests[1]", "must start with /", "'x'"),
    ("B25", f"{WEB}/readiness", {"scheme": "gopher"}, "processes.web.readiness.scheme", "is an unknown option", "'scheme'"),
    ("B26", f"{WEB}/readiness", {"host": "169.254.169.254"}, "processes.web.readiness.host", "is an unknown option", "'host'"),
    ("B27", f"{WEB}/quiesce", {"signal": "SIGTSTP", "exec": ["x"]}, "processes.web.quiesce", "is an unknown option; known: command, drain,", "'quiesce'"),
    ("B28", f"{WEB}/in_flight", {"redis": {}}, "processes.web.in_flight", "is an unknown option; known: command, drain,", "'in_flight'"),
    ("B28-worker", "processes", {"web": {"port": 1}, "worker": {"port": 2}}, "load_balancers", "needs an entry for process worker: only", "list"),
    ("B29", f"{WEB}/stop", {"signal": "SIGFOO"}, "processes.web.stop.signal", "unknown signal; known: SIGTERM, SIGINT", "'SIGFOO'"),
    ("B29-kill", f"{WEB}/stop", {"signal": "SIGKILL"}, "processes.web.stop.signal", "unknown signal; known: SIGTERM", "'SIGKILL'"),
    ("B30", f"{WEB}/resources", {"memory": "1m"}, "processes.web.resources.memory", "memory below 6 MB", "'1m'"),
    ("B31-zero", f"{WEB}/resources", {"cpus": 0}, "processes.web.resources.cpus", "must be a number 0.01-1024", "found 0"),
    ("B31-nan", f"{WEB}/resources", {"cpus": float("nan")}, "processes.web.resources.cpus", "must be a number", "found nan"),
    ("B31-pids", f"{WEB}/resources", {"pids": 1}, "processes.web.resources.pids", "must be an integer 8-1000000", "found 1"),
    ("B34", f"{WEB}/volumes", ["/etc:/etc"], "processes.web.volumes", "is an unknown option; known: command, drain,", "'volumes'"),
    ("B34-app", "volumes", ["data:/data"], "volumes", "is an unknown option; known: app, env, fleet, image,", "'volumes'"),
    ("B35-equals", "env", {"A=B": "x"}, "env.A=B", "env name must match [A-Za-z_][A-Za-z0-9_]*", "'A=B'"),
    ("B35-space", "env", {"A B": "x"}, "env.A B", "env name must match", "'A B'"),
    ("B35-nul", "env", {"A\0": "x"}, r"env.A\x00", "env name must match", r"'A\x00'"),
    ("SE-19-word", "verify", "yes", "verify", "must be one of required, off", "string 'yes'"),
    ("SE-19-true", "verify", True, "verify", "must be one of required, off", "boolean true"),
    ("SE-19-no-key", "verify", "required", "verify_keys", "needs a public key, because verify is required", "found list"),
    ("SE-19-path", "verify_keys", ["/etc/key.pem"], "verify_keys[0]", "must be a public key in PEM", "not shown"),
    ("SE-19-private", "verify_keys", [PRIVATE], "verify_keys[0]", "must be a public key in PEM", "not shown"),
    ("SE-19-number", "verify_keys", [1], "verify_keys[0]", "must be a string", "found 1"),
    ("B35-number", "env", {1: "x"}, "env", "must have strings as keys", "found 1"),
    ("B36-nul", "env", {"A": "x\0y"}, "env.A", "must not contain a NUL character", r"'x\x00y'"),
    ("B35-port", "env", {"PORT": 80}, "env.PORT", "is set by the collection; use processes.NAME.port", "found 80"),
    ("B35-list", "env", {"A": ["x"]}, "env.A", "must be a string, a number or a boolean", "found list"),
    ("B35-secret", "secrets", {"A-B": {}}, "secrets.A-B", "env name must match", "'A-B'"),
    ("B38", f"{WEB}/labels", {"immutable.cutover.app": "x"}, "processes.web.labels", "is an unknown option", "'labels'"),
    ("B40-capability", f"{WEB}/cap_add", ["SYS_ADMIN"], "processes.web.cap_add", "is an unknown option", "'cap_add'"),
    ("B40", f"{WEB}/privileged", True, "processes.web.privileged", "is an unknown option", "'privileged'"),
    ("B65-number", f"{WEB}/replicas", "3", "processes.web.replicas", "must be an integer 1-100", "string '3'"),
    ("B65-word", f"{WEB}/replicas", "no", "processes.web.replicas", "must be an integer 1-100", "string 'no'"),
    ("B65-retain", "retain", "3", "retain", "must be an integer 1-50", "string '3'"),
    ("version", "version", "1.0 beta", "version", "must be a version such as 1.4.2", "'1.0 beta'"),
    ("status", f"{WEB}/readiness", {"status": [200, 99]}, "processes.web.readiness.status[1]", "100-599", "found 99"),
    ("status-text", f"{WEB}/readiness", {"status": "200"}, "processes.web.readiness.status", "must be a list", "string '200'"),
    ("command", f"{WEB}/command", "run me", "processes.web.command", "must be a list of strings", "string 'run me'"),
    ("command-item", f"{WEB}/command", ["run", 1], "processes.web.command[1]", "must be a string", "found 1"),
    ("on-timeout", f"{WEB}/drain", {"on_timeout": "warn"}, "processes.web.drain.on_timeout", "must be one of fail, force", "'warn'"),
    ("on-failure", "strategy", {"on_failure": "no"}, "strategy.on_failure", "must be one of rollback, stop", "'no'"),
    ("process-list", "processes", ["web"], "processes", "must be a mapping", "found list"),
    ("process-text", "processes", {"web": "8080"}, "processes.web", "must be a mapping", "string '8080'"),
    ("process-none", "processes", {}, "processes", "needs at least one process", "mapping"),
    ("lb-text", "load_balancers", ["haproxy"], "load_balancers[0]", "must be a mapping with driver, socket", "'haproxy'"),
    ("lb-process", "load_balancers", [{"process": "api"}], "load_balancers[0].process", "must be one of web", "'api'"),
    ("lb-none", "load_balancers", [], "load_balancers", "needs an entry for process web", "list"),
    ("secret-digest", "secrets", {"DB": {"source": "/x", "sha256": "12"}}, "secrets.DB.sha256", "must be 64 hex digits", "not shown"),
    ("secret-relative", "secrets", {"DB": {"source": "x", "sha256": "0" * 64}}, "secrets.DB.source", "must be an absolute path", "not shown"),
]  # fmt: skip

WHOLE: list[tuple[str, object, str, str, str]] = [
    ("B01", None, "spec", "top level must be a mapping", "found nothing"),
    (
        "B02",
        {},
        "spec",
        "is empty; it needs at least app, image, processes and load_balancers",
        "mapping",
    ),
    ("B03", [mapping()], "spec", "top level must be a mapping", "found list"),
    ("B06", without_option("app"), "app", "must be a name matching", "found nothing"),
    ("B06-empty", mapping(app=""), "app", "must be a name matching", "string ''"),
    ("B13-missing", without_option("image"), "image", "is required", "found nothing"),
    (
        "port-missing",
        without_option("processes/web/port"),
        "processes.web.port",
        "must be an integer",
        "nothing",
    ),
]

IMAGES: list[tuple[str, object, str]] = [
    ("B13-tag", "shop/web:1.0", "image must be pinned name@sha256:<64 hex>"),
    ("B13-bare", "shop/web", "image must be pinned name@sha256:<64 hex>"),
    ("B13-tag-and-digest", f"shop/web:1.0@sha256:{'1' * 64}", "drop the tag"),
    ("B13-number", 5, "image must be pinned"),
    (
        "B14-63",
        f"shop/web@sha256:{'1' * 63}",
        "bad digest: need name@sha256: + 64 lower-case hex digits",
    ),
    ("B14-md5", f"shop/web@md5:{'1' * 32}", "bad digest: need name@sha256: + 64"),
    ("B14-upper", f"shop/web@sha256:{'A' * 64}", "bad digest: need name@sha256: + 64"),
    ("B14-newline", f"shop/web@sha256:{'1' * 64}\n", "bad digest: need name@sha256: + 64"),
]


def refusal(value: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(value)
    assert caught.value.message.isprintable(), f"not one printable line: {caught.value.message!r}"
    return caught.value


@pytest.mark.parametrize(
    ("option", "value", "path", "allowed", "found"),
    [pytest.param(*row[1:], id=row[0]) for row in OPTIONS],
)
def test_option(option: str, value: object, path: str, allowed: str, found: str) -> None:
    error = refusal(with_option(option, value))
    assert error.message.startswith(f"{path}: "), error.message
    assert allowed in error.message
    assert found in error.message


@pytest.mark.parametrize(
    ("value", "path", "allowed", "found"), [pytest.param(*row[1:], id=row[0]) for row in WHOLE]
)
def test_whole(value: object, path: str, allowed: str, found: str) -> None:
    error = refusal(value)
    assert error.message.startswith(f"{path}: "), error.message
    assert allowed in error.message
    assert found in error.message


@pytest.mark.parametrize(
    ("value", "allowed"), [pytest.param(*row[1:], id=row[0]) for row in IMAGES]
)
def test_image(value: Any, allowed: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference(value)
    message = caught.value.message
    assert message.startswith("image: ") and message.isprintable(), message
    assert allowed in message


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(with_option("env", {"DB_PASSWORD": "hunter2"}), id="B37-env"),
        pytest.param(with_option("env", {"db_api_key": "hunter2"}), id="B37-env-lower"),
        pytest.param(with_option("secrets", {"DB": "hunter2"}), id="B37-inline-secret"),
        pytest.param(with_option("secrets", {"DB": {"value": "hunter2"}}), id="B37-inline-value"),
        pytest.param(with_option("secrets", {"DB": {"sha256": "hunter2"}}), id="B37-instead-of-digest"),
        pytest.param(with_option("secrets", {"DB": {"sha256": "0" * 64, "source": "hunter2"}}), id="B37-instead-of-path"),
    ],
)  # fmt: skip
def test_a_secret_is_never_shown(spec: dict[str, Any]) -> None:
    error = refusal(spec)
    assert "hunter2" not in error.message
    assert "hunter2" not in str(error.details)
    assert error.message.startswith(("env.", "secrets.DB"))


def test_b36_a_newline_in_a_value_of_env_is_no_mistake() -> None:
    """There is no env file here: the value goes to the engine as it is."""
    assert parse_spec(with_option("env", {"A": "x\ny"})).env == (("A", "x\ny"),)


def test_b10_two_processes_behind_two_backends_are_none() -> None:
    spec = with_option("processes", {"web": {"port": 1}, "api": {"port": 1}})
    backends = [("web", "/s", "a"), ("api", "/s", "b"), ("web", "/t", "a")]
    keys = ("process", "socket", "backend")
    spec["load_balancers"] = [dict(zip(keys, row, strict=True)) for row in backends]
    assert len(parse_spec(spec).load_balancers) == 3


def test_b11_one_backend_is_not_shared_by_two_processes() -> None:
    spec = with_option("processes", {"web": {"port": 1}, "api": {"port": 1}})
    spec["load_balancers"] = [{"process": name, "backend": "b"} for name in ("web", "api")]
    said = refusal(spec).message
    assert (
        "load_balancers[1].backend: is claimed by web in load_balancers[0] too, and by api" in said
    )


def test_a_file_name_of_a_secret_is_no_secret() -> None:
    assert parse_spec(with_option("env", {"DB_PASSWORD_FILE": "/run/secrets/DB"})).env == (
        ("DB_PASSWORD_FILE", "/run/secrets/DB"),
    )


def test_the_reference_of_the_valid_spec_is_one() -> None:
    assert str(parse_reference(IMAGE)) == IMAGE
