"""LWE encryption of features, similarity search on ciphertexts, keys and sealing. Start at ``scheme``."""
