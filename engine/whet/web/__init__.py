"""Listening, connections and requests: what the search page and `whet serve` have in common."""
