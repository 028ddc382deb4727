"""A Grafana dashboard, Prometheus alerts and the page of metrics, from one table. Start at ``generate``."""
