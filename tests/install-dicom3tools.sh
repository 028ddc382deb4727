#!/usr/bin/env bash
# Debian: the dciodvfy that tests/stages/deliver/test_seg_readers.py judges DICOM Segmentations with. Needs root.
set -euo pipefail
apt-get update
apt-get install --yes --no-install-recommends dicom3tools
