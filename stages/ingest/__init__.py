"""Files become pseudonymous frames: find, sort, cut, decode, seal what identifies. Start at ``stage``."""
