"""Contrastive training on Lightning; nothing outside this package knows Lightning."""
