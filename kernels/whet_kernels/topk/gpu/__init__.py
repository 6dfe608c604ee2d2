"""The search on a GPU: one rounded pass that loses nothing, then exact scores of what is left."""
