#!/usr/bin/env bash
# Debian: the strace that tests/stages/index/test_faults.py injects faults with. Needs root.
set -euo pipefail
apt-get update
apt-get install --yes --no-install-recommends strace
