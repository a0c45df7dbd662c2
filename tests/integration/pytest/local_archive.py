# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An apt archive and a wheel index of a test's own, in folders: versions come, go and are yanked there at will."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import pathlib
import shutil
import subprocess
import threading
import typing as t
import zipfile

from ansible_collections.immutable.cutover.plugins.module_utils._image.apt import Source


class AptArchive:
    """Tiny real Debian packages in a flat archive that apt itself reads."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        for name in ("base-files", "usr-is-merged"):
            self.put(name, "1", essential=name == "base-files")

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return what stands for the host's sources."""
        uri = f"file:{self.root}"
        return (Source(f"Types: deb\nURIs: {uri}\nSuites: ./\nTrusted: yes\n", (uri,)),)

    def put(
        self,
        name: str,
        version: str,
        depends: str = "",
        essential: bool = False,
        files: t.Mapping[str, str] | None = None,
    ) -> None:
        """Add a version of a package."""
        tree = self.root / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        control = [
            *(f"Package: {name}", f"Version: {version}", "Architecture: all", "Priority: optional"),
            *("Maintainer: x <x@example.org>", "Description: x"),
            *([f"Depends: {depends}"] if depends else []),
            *(["Essential: yes"] if essential else []),
        ]
        (tree / "DEBIAN/control").write_text("\n".join(control) + "\n")
        for path, text in (files or {}).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        package = self.root / f"{name}_{version}_all.deb"
        self._run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(package))
        shutil.rmtree(tree)
        self._index()

    def drop(self, name: str, version: str) -> None:
        """Take a version away, as archives do when a newer one comes."""
        (self.root / f"{name}_{version}_all.deb").unlink()
        self._index()

    def _index(self) -> None:
        listed = self._run("dpkg-scanpackages", "--multiversion", ".")
        (self.root / "Packages").write_text(listed)

    def _run(self, *argv: str) -> str:
        done = subprocess.run(argv, cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout


class WheelIndex:
    """Tiny wheels behind the simple index API."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.yanked: set[str] = set()

    def put(self, name: str, version: str, requires: str = "", code: str = "") -> None:
        """Add a version of a package."""
        folder = self.root / "simple" / name
        folder.mkdir(parents=True, exist_ok=True)
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        if requires:
            metadata += f"Requires-Dist: {requires}\n"
        wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
            archive.writestr(zipfile.ZipInfo(f"{name}.py"), code or f"version = '{version}'\n")
            archive.writestr(zipfile.ZipInfo(f"{info}/METADATA"), metadata)
            archive.writestr(zipfile.ZipInfo(f"{info}/WHEEL"), wheel)
            archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "")
        self._index(folder)

    def drop(self, name: str, version: str) -> None:
        """Take a version away."""
        folder = self.root / "simple" / name
        (folder / f"{name}-{version}-py3-none-any.whl").unlink()
        self._index(folder)

    def yank(self, name: str, version: str) -> None:
        """Mark a version as one that nobody should take."""
        self.yanked.add(f"{name}-{version}-py3-none-any.whl")
        self._index(self.root / "simple" / name)

    def _index(self, folder: pathlib.Path) -> None:
        lines = []
        for path in sorted(folder.glob("*.whl")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            mark = ' data-yanked="broken"' if path.name in self.yanked else ""
            lines.append(f'<a href="{path.name}#sha256={digest}"{mark}>{path.name}</a>\n')
        (folder / "index.html").write_text("".join(lines))

    @contextlib.contextmanager
    def serve(self) -> t.Iterator[str]:
        """Serve the index; yield its address."""
        handler = functools.partial(_Quiet, directory=str(self.root))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
            finally:
                server.shutdown()
                thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        # uv keeps an index for ten minutes otherwise.
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
