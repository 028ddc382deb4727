"""Inference: prepared slices become masks, confidence and feature vectors. Start at ``stage``."""
