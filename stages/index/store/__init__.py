"""The index as files on disk: segments, manifest, tiles, lookup. Start at ``segments``."""
