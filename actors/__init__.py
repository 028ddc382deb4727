"""The one host actor, and the crews that run hops on Ray or on threads. Start at ``host``."""
