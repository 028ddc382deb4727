"""A graph of stages, the pump that drives it, and its bounds; no stage by name. Start at ``graph``."""
