"""What is asked of an index: search, sums, audit, and answers to others. Start at ``search``."""
