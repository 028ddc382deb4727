"""Checking an index: verify, fsck, and how they walk and compare. Start at ``verify``."""
