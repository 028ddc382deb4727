"""Secrets only: owner, site and worker keys, and what they open. Start at ``folder``."""
