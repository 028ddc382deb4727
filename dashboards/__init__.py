"""What operators see: a Grafana dashboard, Prometheus alerts and the page of metrics, from one table."""
