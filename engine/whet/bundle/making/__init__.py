"""A run as a folder to publish: what goes in, its card, what its licences permit."""
