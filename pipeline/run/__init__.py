"""One run of the stream: what is asked for, its checks, its books, its proof. Start at ``run``."""
