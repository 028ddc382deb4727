"""Composition: configuration, engine, runs, queries and the command line. Start at ``stream``."""
