#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
#
# Make .venv hold exactly what requirements/dev.txt locks, by hash. Quick when it already does.
# pip installs uv, uv installs the rest. Registries come from the host's own configuration, never from this repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export UV_CACHE_DIR="$PWD/.cache/uv" UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
stamp=.venv/.locked

wanted() { # what the environment must match: the locks, and the folder (its scripts hold absolute paths)
    { printf '%s\n' "$PWD"; cat requirements/bootstrap.txt requirements/dev.txt "$0"; } | sha256sum | cut -d' ' -f1
}

find_python() { # the first one that runs: a version manager's shim may exist for a Python that does not
    local name
    for name in python3.11 python3 python3.12 python3.13 /usr/bin/python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null </dev/null; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    echo "venv: Python 3.11 or newer is needed and none was found on PATH" >&2
    return 1
}

need_ensurepip() { # Debian splits it off the interpreter
    local python=$1 version
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "venv: $python cannot make virtual environments; install python$version-venv" >&2
        return 1
    fi
    echo "venv: installing python$version-venv"
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "python$version-venv"
}

pip_setting() {
    .venv/bin/python -m pip config get ":env:.$1" 2>/dev/null || .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true
}

uv_follows_pip() { # uv does not read pip's configuration: hand over an index or a CA that only pip knows of
    local index cert
    index=$(pip_setting index-url)
    cert=$(pip_setting cert)
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}; fi
    if [ -n "$cert" ]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$cert}; fi
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ] && .venv/bin/python -c '' 2>/dev/null; then exit 0; fi

python=$(find_python)
need_ensurepip "$python"
echo "venv: making .venv with $("$python" --version)"
rm -f "$stamp"
"$python" -m venv --clear .venv
.venv/bin/python -m pip install -q --disable-pip-version-check --no-cache-dir --require-hashes -r requirements/bootstrap.txt
uv_follows_pip
# With bytecode: every module start imports from here, and PYTHONDONTWRITEBYTECODE keeps it from being made later.
.venv/bin/uv pip sync -q --compile-bytecode --python .venv/bin/python --require-hashes requirements/dev.txt
wanted > "$stamp"
echo "venv: ready"
