"""The log as pure functions: tree, leaves, notes, proofs, key tree. No file is touched. Start at ``tree``."""
