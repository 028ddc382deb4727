"""Ray sessions: connecting to a cluster, or starting one on this machine."""
