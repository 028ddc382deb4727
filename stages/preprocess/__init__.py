"""Frames become model input: one field of view, one intensity scale, and back. Start at ``stage``."""
