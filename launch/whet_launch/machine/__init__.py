"""A job on this machine: its processes, started, watched, started again."""
