"""Open run bundles: publish a run so that others can say what made it, check it, and do it again.

facts.py reads a run, licences.py says what its parts permit, provenance.py is the record and its
hash tree, card.py and croissant.py what people and tools read, make.py writes the folder;
inputs.py and verify.py check one, reproduce.py does it again (docs/bundles.md).
"""
