"""Copies of a log: push to object storage, pull from it. Start at ``push``."""
