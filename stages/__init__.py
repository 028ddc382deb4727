"""What is done to a batch. Nothing below this line imports Ray, prometheus_client or pynvml."""
