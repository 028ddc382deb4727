"""What the clinic gets: segmentations on the original grid, overlays, measurements. Start at ``stage``."""
