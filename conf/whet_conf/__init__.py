"""Hydra's YAML groups, shipped as package data; they mirror `whet.config`."""
