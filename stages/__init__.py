"""What is done to a batch; Ray, prometheus_client and pynvml stay above. Start at ``base``."""
