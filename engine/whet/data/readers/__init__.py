"""Readers of the formats of others, told apart by content; all give `records.Reading`."""
