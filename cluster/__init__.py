"""Ray sessions: join a cluster, or start one on this machine. Start at ``session``."""
