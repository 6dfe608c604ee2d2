"""A run folder: the job it belongs to, what it holds, and where it all came from."""
