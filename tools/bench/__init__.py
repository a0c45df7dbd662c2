# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""How long a replace takes, as a ratio to a raw script that does the same without Ansible."""
