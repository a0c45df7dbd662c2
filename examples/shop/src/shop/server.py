# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The process: bind, serve, and on SIGTERM finish the work before leaving."""

from __future__ import annotations

import asyncio
import os
import socket
from logging import Logger
from types import FrameType

import uvicorn

from shop.app import Shop
from shop.config import Config
from shop.lifecycle import Lifecycle

QUIET = 0.25
"""Seconds without work after which a stopping app leaves."""


class Server(uvicorn.Server):
    """Uvicorn closes its listening socket at once on SIGTERM, which refuses clients that have not
    heard yet; this one keeps serving until it is idle, and then shuts down."""

    def __init__(self, settings: uvicorn.Config, app: Shop) -> None:
        super().__init__(settings)
        self._app = app
        self._drain: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        faults = self._app.config.faults
        if faults.exit_after is not None:
            self._loop.call_later(faults.exit_after, os._exit, 3)
        await super().startup(sockets)
        self._app.log.info("listening", extra={"fields": {"port": self._app.config.port}})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in place of uvicorn's handler, which would leave by the signal: we exit 0."""
        if self._loop is None:
            self.should_exit = True
        elif not self._app.config.faults.ignore_sigterm:
            self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        if self._drain is None:
            self._app.life.stop()
            fields = {"in_flight": self._app.life.in_flight}
            self._app.log.info("stopping", extra={"fields": fields})
            self._drain = asyncio.create_task(self._drain_then_exit())

    async def _drain_then_exit(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._app.config.drain_timeout
        life = self._app.life
        while life.idle_for() < QUIET:
            if asyncio.get_running_loop().time() >= deadline:
                fields = {"in_flight": life.in_flight}
                self._app.log.warning("drain timeout", extra={"fields": fields})
                break
            await asyncio.sleep(0.05)
        self.should_exit = True


def run(config: Config, log: Logger) -> None:
    """Serve until told to stop."""
    app = Shop(config, Lifecycle(config), log)
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        loop="asyncio",
        http="httptools",
        ws="wsproto",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=1024,
        timeout_keep_alive=config.keep_alive,
        timeout_graceful_shutdown=2,
    )
    server = Server(settings, app)
    asyncio.run(server.serve())
    log.info("stopped")
