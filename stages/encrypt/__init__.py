"""LWE encryption of features, its keys, and similarity search on ciphertexts. Start at ``stage``."""
