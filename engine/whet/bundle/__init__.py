"""Open run bundles: publish a run so that others can say what made it, check it, and do it again.

facts.py reads a run, provenance.py is the record and its hash tree; making/ writes the folder with
what people and tools read, checking/ verifies one and does its run again (docs/bundles.md).
"""
