"""A second version beside the one that answers: in its shadow, or interleaved with it."""
