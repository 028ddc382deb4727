"""Composition: configuration, graph, engine, metrics, dead letters and the command line."""
