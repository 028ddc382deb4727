"""One run of the stream: the job, its checks, its books, its summary. Start at ``run``."""
