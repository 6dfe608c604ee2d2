"""A configuration as words, and back."""
