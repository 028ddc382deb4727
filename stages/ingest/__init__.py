"""Files become pseudonymous frames: find, sort and cut series, decode pixels, seal what identifies."""
