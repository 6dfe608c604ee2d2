"""The search on a CPU: a cheap pass that loses nothing, then exact scores of what is left."""
