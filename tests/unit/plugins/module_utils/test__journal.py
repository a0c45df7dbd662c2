# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import multiprocessing
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import StateError
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal, Row


def row(number: int = 1, outcome: str = "ok", **more: object) -> Row:
    return Row(1.5, "run", number, "shop", "start", outcome, detail=more)


def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path), "shop")


def file(tmp_path: Path) -> Path:
    return tmp_path / "apps" / "shop" / "journal.jsonl"


def epochs(tmp_path: Path) -> list[object]:
    return [found["epoch"] for found in journal(tmp_path).read()]


def test_rows_come_back_in_order_and_the_process_remembers_its_own(tmp_path: Path) -> None:
    first, second = journal(tmp_path), journal(tmp_path)
    first.append(row(1, container="abc"))
    second.append(row(2, "begin"))
    assert epochs(tmp_path) == [1, 2]
    assert first.read()[0]["detail"] == {"container": "abc"}
    assert (first.written, second.written) == ([row(1, container="abc")], [row(2, "begin")])
    assert first.read(1)[0]["epoch"] == 2
    assert stat.S_IMODE(file(tmp_path).stat().st_mode) == 0o600


def test_there_may_be_none(tmp_path: Path) -> None:
    assert journal(tmp_path).read() == []


@pytest.mark.parametrize("torn", [b'{"epoch": 1, "ap', b"{", b"\xc3", b'{"epoch":9}'])
def test_cr_14_a_torn_last_line_is_closed_and_loses_only_itself(
    tmp_path: Path, torn: bytes
) -> None:
    journal(tmp_path).append(row(1))
    with file(tmp_path).open("ab") as stream:
        stream.write(torn)
    journal(tmp_path).append(row(2))
    found = epochs(tmp_path)
    assert (found[0], found[-1]) == (1, 2)
    assert found[1:-1] == ([9] if torn.endswith(b"}") else [])
    assert file(tmp_path).read_bytes().endswith(b"}\n")


def test_what_is_no_row_is_left_out(tmp_path: Path) -> None:
    journal(tmp_path).append(row(1))
    with file(tmp_path).open("ab") as stream:
        stream.write(b"\n[]\n5\n\x00\n")
    journal(tmp_path).append(row(2))
    assert epochs(tmp_path) == [1, 2]


def test_threads_and_processes_append_whole_lines(tmp_path: Path) -> None:
    def append(worker: int) -> None:
        mine = journal(tmp_path)
        for number in range(20):
            mine.append(row(worker * 100 + number, "begin", text="x" * 3000))

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=append, args=(worker,)) for worker in range(4)]
    shared = journal(tmp_path)
    threads = [
        threading.Thread(target=shared.append, args=(row(900 + number, "begin"),))
        for number in range(8)
    ]
    workers: list[Any] = [*processes, *threads]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wanted = [worker * 100 + number for worker in range(4) for number in range(20)]
    assert sorted(map(str, epochs(tmp_path))) == sorted(map(str, [*wanted, *range(900, 908)]))
    assert len(shared.written) == 8


def test_cr_09_a_link_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    file(tmp_path).parent.mkdir(parents=True)
    file(tmp_path).symlink_to(target)
    with pytest.raises(StateError, match=r"journal\.jsonl: cannot be written"):
        journal(tmp_path).append(row())
    assert target.read_bytes() == b""


def test_cr_09_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    file(tmp_path).mkdir(parents=True)
    with pytest.raises(StateError, match=r"journal\.jsonl: cannot be read"):
        journal(tmp_path).read()


@pytest.mark.parametrize("ask", [Journal.read, Journal.runs, Journal.look])
def test_cr_13_a_row_of_a_newer_schema_is_refused_with_the_path(tmp_path: Path, ask: Any) -> None:
    journal(tmp_path).append(Row(1.5, "run", 1, "shop", "run", "begin"))
    content = file(tmp_path).read_text()
    file(tmp_path).write_text(content + content.replace('"schema":1', '"schema":4'))
    with pytest.raises(StateError) as caught:
        ask(journal(tmp_path))
    assert caught.value.message.startswith(f"{file(tmp_path)}: a row has schema 4, ")
    assert "knows <= 1; nothing was changed" in caught.value.message


def test_cr_14_what_a_crash_has_cut_is_counted(tmp_path: Path) -> None:
    journal(tmp_path).append(row(1))
    with file(tmp_path).open("ab") as stream:
        stream.write(b'{"epoch": 1, "ap')
    assert journal(tmp_path).look() == ([{**journal(tmp_path).read()[0]}], 1)
    journal(tmp_path).append(row(2))
    rows, unreadable = journal(tmp_path).look()
    assert ([found["epoch"] for found in rows], unreadable) == ([1, 2], 1)


def test_cr_14_a_full_disk_is_told_and_the_part_that_was_written_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal(tmp_path).append(row(1))
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if data.startswith(b"{"):
            return write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StateError, match=r"cannot be written: No space left"):
        journal(tmp_path).append(row(2))
    monkeypatch.undo()
    journal(tmp_path).append(row(3))
    assert epochs(tmp_path) == [1, 3]


def test_the_last_rows_of_a_long_journal_are_found(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    for number in range(1, 41):
        writer.append(row(number, "begin", text="x" * 20_000))
    writer.append(Row(1.5, "run", 41, "shop", "run", "begin"))
    found = [item["epoch"] for item in journal(tmp_path).read(30)]
    assert found == list(range(12, 42))
    assert len(journal(tmp_path).read()) == 41
    assert [item["epoch"] for item in journal(tmp_path).runs()] == [41]


def test_cr_09_a_link_is_not_read_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("{}\n")
    file(tmp_path).parent.mkdir(parents=True)
    file(tmp_path).symlink_to(target)
    with pytest.raises(StateError, match=r"journal\.jsonl: cannot be read"):
        journal(tmp_path).read()
