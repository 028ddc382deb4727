"""Queries of an index: search, sums, audit, and answers to other queriers. Start at ``search``."""
