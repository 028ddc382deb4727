"""Frames become model input: one field of view, one intensity scale, and the way back."""
