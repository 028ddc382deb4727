"""HTTP servers: what other machines may ask. Start at ``replica``."""
