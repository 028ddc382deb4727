"""An append-only, verifiable index of ciphertexts. Start at ``session`` (the writer) and ``reader``."""
