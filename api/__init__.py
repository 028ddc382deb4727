"""HTTP servers for requests of other machines. Start at ``replica``."""
