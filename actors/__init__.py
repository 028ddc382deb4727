"""Ray actors: the one host class, and the crew that runs a graph's hops on a cluster."""
