"""What anyone may hold: the public bundle, sealing to the owner, checking signatures. Start at ``bundle``."""
