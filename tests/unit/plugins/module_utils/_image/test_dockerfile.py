# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of Dockerfiles: how they are read, and what is refused with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import dockerfile as subject
from ansible_collections.immutable.cutover.plugins.module_utils._image.validate import Problems

BASE = "base/py311@sha256:" + "1" * 64
TOOLS = "base/tools@sha256:" + "2" * 64
GOOD = f"FROM {BASE}\nCOPY src/ /app/\nUSER 10001\n"


def read(
    text: str, secrets: tuple[str, ...] = (), allow_root: bool = False
) -> tuple[subject.Dockerfile | None, list[str]]:
    """Return what was read, and every complaint."""
    problems = Problems("bake.yml")
    found = subject.read_dockerfile(text, "Dockerfile", problems, secrets, allow_root)
    return found, [error.message for error in problems.found]


def test_lines_are_joined_as_the_builder_does() -> None:
    text = (
        "# a comment\r\n\r\nfrom x\n  RUN a \\\n# inner\n\n    b \\  \n  c\n"
        "COPY --from=x --chown=1:1 a b\nENV A='1 2'"
    )
    found = subject.parse(text)
    assert [(step.line, step.name, step.rest) for step in found] == [
        (3, "FROM", "x"),
        (4, "RUN", "a     b   c"),
        (9, "COPY", "a b"),
        (10, "ENV", "A='1 2'"),
    ]
    assert found[2].flags == (("from", "x"), ("chown", "1:1"))
    assert found[2].text == "COPY --from=x --chown=1:1 a b"


def test_stages_are_followed_to_their_images() -> None:
    text = (
        f"FROM {TOOLS} AS build\nRUN make\nFROM build AS more\nFROM {BASE}\n"
        "COPY --from=build /out /app\nCOPY --from=1 /out /more\nUSER 10001:10001\n"
    )
    found, problems = read(text)
    assert problems == []
    assert found is not None
    assert found.origins == (TOOLS, TOOLS, BASE)
    assert found.base == BASE
    assert [stage.name for stage in found.stages] == ["build", "more", ""]


REFUSED = [
    (
        "B41-tag",
        "FROM debian:12\nUSER 1",
        "Dockerfile:1: FROM must be pinned: image must be pinned name@sha256:",
    ),
    ("B41-latest", "FROM base/py311\nUSER 1", "FROM must be pinned: image must be pinned"),
    ("B41-scratch", "FROM scratch\nUSER 1", "FROM must be pinned"),
    ("B41-argument", "FROM ${BASE}\nUSER 1", "FROM must be pinned"),
    ("B41-stage", f"FROM debian AS x\nFROM {BASE}\nUSER 1", "Dockerfile:1: FROM must be pinned"),
    ("B41-platform", f"FROM --platform=linux/arm64 {BASE}\nUSER 1", "--platform is not supported"),
    (
        "B14-short",
        "FROM base/py311@sha256:" + "1" * 63 + "\nUSER 1",
        "FROM must be pinned: bad digest",
    ),
    ("from-none", "# nothing\n", "has no FROM"),
    ("from-first", f"ARG X=1\nFROM {BASE}\nUSER 1", "Dockerfile:1: must come after FROM"),
    (
        "from-words",
        f"FROM {BASE} BS x\nUSER 1",
        "must be FROM name@sha256:<64 hex>, or FROM ... AS stage",
    ),
    ("from-name", f"FROM {BASE} AS a;b\nUSER 1", "stage must be a name of its own"),
    ("B46-http", GOOD + "ADD https://example.org/x /x", "Dockerfile:4: remote ADD refused"),
    ("B46-list", GOOD + 'ADD ["http://example.org/x", "/x"]', "remote ADD refused"),
    ("B46-git", GOOD + "ADD git@example.org:x.git /x", "remote ADD refused"),
    ("B46-copy-from-image", GOOD + "COPY --from=nginx /x /x", "--from must be an earlier stage"),
    ("B47-arg", GOOD + "ARG PASSWORD", "build args are stored in the image history"),
    ("B47-default", GOOD + "ARG api_token=x", "build args are stored in the image history"),
    ("SE-08-env", GOOD + "ENV DB_PASSWORD=x", "ENV DB_PASSWORD looks like a secret"),
    ("SE-08-env-old", GOOD + "ENV SECRET_KEY x y", "ENV SECRET_KEY looks like a secret"),
    ("SE-08-second", GOOD + "ENV A=1 TOKEN=x", "ENV TOKEN looks like a secret"),
    ("SE-08-known", GOOD + "RUN echo ghp_" + "a1B2" * 9, "holds a credential; use secrets:"),
    ("SE-08-url", GOOD + "RUN curl http://me:s3cr3tw0rd@example.org/", "holds a credential"),
    ("SE-12-nul", GOOD + "RUN a\0b", "Dockerfile:4: control character U+0000"),
    ("SE-12-separator", GOOD + "LABEL a=b\u2028RUN id", "control character U+2028"),
    ("SE-12-vertical-tab", GOOD + "LABEL a=b\x0bRUN id", "control character U+000B"),
    ("B49-escape", GOOD + 'LABEL note="\x1b[31m"', "control character U+001B"),
    ("SE-12-escape-directive", "# escape=`\n" + GOOD, "the escape character must be a backslash"),
    ("SE-05", GOOD + "WORKDIR /proc/self/fd/7", "WORKDIR must not be below /proc"),
    ("B51-none", f"FROM {BASE}\nRUN true", "Dockerfile:1: final user would be root"),
    ("B51-root", f"FROM {BASE}\nUSER root", "final user must be a number"),
    ("B51-zero", f"FROM {BASE}\nUSER 0:10", "final user is root"),
    ("B51-variable", f"FROM {BASE}\nUSER $APP", "final user must be a number"),
    (
        "B51-other-stage",
        f"FROM {BASE} AS a\nUSER 1\nFROM {BASE}\nRUN true",
        "Dockerfile:3: final user would be root",
    ),
    ("volume", GOOD + "VOLUME /data", "VOLUME a replica keeps nothing"),
    (
        "healthcheck",
        GOOD + "HEALTHCHECK NONE",
        "HEALTHCHECK readiness is of the spec",
    ),
    ("onbuild", GOOD + "ONBUILD RUN id", "ONBUILD would run in the build of another image"),
    ("unknown", GOOD + "COPPY a b", "unknown instruction; did you mean COPY?"),
    (
        "chmod",
        GOOD + "COPY --chmod=0644 a b",
        "--chmod is not supported; COPY takes --from, --chown",
    ),
    ("network", GOOD + "RUN --network=host id", "--network must be none"),
    ("mount", GOOD + "RUN --mount=type=cache,target=/x id", "--mount must be type=secret,id=NAME"),
    (
        "mount-target",
        GOOD + "RUN --mount=type=secret,id=a,target=/etc/a id",
        "--mount must be type=secret",
    ),
    (
        "secret",
        GOOD + "RUN --mount=type=secret,id=other id",
        "id must be one of secrets: in the recipe, which has token",
    ),
    ("heredoc", GOOD + "RUN <<EOF\nid\nEOF", "a here-document needs BuildKit"),
]


@pytest.mark.parametrize(("text", "says"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_refused(text: str, says: str) -> None:
    found, problems = read(text, ("token",))
    assert found is None
    assert any(says in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(GOOD + "RUN --mount=type=secret,id=token id", id="secret"),
        pytest.param(GOOD + "RUN --network=none echo $((1<<2))", id="shift"),
        pytest.param(GOOD + "ENV TOKEN_FILE=/run/secrets/token KEY=", id="file"),
        pytest.param(GOOD + "ADD data.tar.gz /data", id="archive"),
        pytest.param(GOOD + 'SHELL ["/bin/sh", "-ec"]\nSTOPSIGNAL SIGTERM', id="others"),
        pytest.param(f"FROM {BASE} AS a\nUSER 10001\nFROM a\nRUN true", id="inherited-user"),
    ],
)
def test_accepted(text: str) -> None:
    found, problems = read(text, ("token",))
    assert problems == []
    assert found is not None


def test_no_value_of_a_secret_is_shown() -> None:
    for step in ("ENV TOKEN=topsecret", "ARG TOKEN=topsecret", "RUN echo ghp_" + "a1B2" * 9):
        _found, problems = read(GOOD + step)
        assert len(problems) == 1
        assert "topsecret" not in problems[0] and "a1B2" not in problems[0]


def test_root_on_request() -> None:
    assert read(f"FROM {BASE}\nRUN true", allow_root=True)[1] == []


def test_arguments_that_a_step_sees() -> None:
    steps = subject.parse('ARG A\nARG B=2\nARG C="3 4"\nRUN id\nARG D=5')
    assert subject.argument_defaults(steps[:4], {"A": "1", "B": "9", "D": "7"}) == {
        "A": "1",
        "B": "9",
        "C": "3 4",
    }


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("echo a && b", ["/bin/sh", "-c", "echo a && b"]),
        ('["echo", "a b"]', ["echo", "a b"]),
        ("[ -e /x ] && id", ["/bin/sh", "-c", "[ -e /x ] && id"]),
    ],
)
def test_command_of_a_step(rest: str, words: list[str]) -> None:
    (step,) = subject.parse(f"RUN {rest}")
    assert subject.command_of(step, ("/bin/sh", "-c")) == words


@pytest.mark.parametrize(
    "rest", ["a\nRUN id", "a\\", "a\r\nRUN id"], ids=["newline", "continued", "windows"]
)
def test_se_12_what_would_be_another_instruction_is_not_written(rest: str) -> None:
    with pytest.raises(CutoverError, match="cannot be written"):
        subject.render([("FROM", BASE), ("LABEL", f"x={rest}"), ("USER", "1")])


@given(st.lists(st.sampled_from(["a b", "--from=x y", "'q r'", "[1]", "$X", "x\\y", "# no"])))
def test_se_12_what_is_written_is_read_as_the_same(rests: list[str]) -> None:
    lines = [("FROM", BASE), *(("COPY", rest) for rest in rests)]
    found = subject.parse(subject.render(lines).decode())
    assert [(step.name, step.text.partition(" ")[2]) for step in found] == lines
