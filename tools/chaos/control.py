# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""Positive control: a naive order, by hand, on the same site under the same load: this must lose requests."""

from __future__ import annotations

import shutil
import time

from tools.chaos import check
from tools.chaos.rig import Release, Site
from tools.chaos.run import PATIENT
from tools.loadgen import Load
from tools.loadgen.load import Result as Books


def kill_first(site: Site, current: Release, rate: float) -> Books:
    """Kill an old replica before its successor is there, and then deploy; returns what the load says of it."""
    with Load(site.sample.url, rate=rate, options=PATIENT) as load:
        time.sleep(3)
        site.docker("kill", check.containers(site)[0].id)
        site.deploy(current)
        books = load.stop()
    shutil.rmtree(load.out)
    return books
