"""LWE with a public key: parameters, encryption, scores, sums. It holds no secret. Start at ``scheme``."""
