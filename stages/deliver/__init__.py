"""What the clinic gets: segmentations on the original grid, overlays, measurements."""
