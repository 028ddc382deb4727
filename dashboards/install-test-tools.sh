#!/usr/bin/env bash
# Debian: the Prometheus and promtool that tests/dashboards needs. Needs root; leaves no service running.
set -euo pipefail
apt-get update
apt-get install --yes --no-install-recommends prometheus
if [ -d /run/systemd/system ]; then
  systemctl disable --now prometheus
fi
