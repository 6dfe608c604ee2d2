"""A part of a corpus to judge or to mine in, where the whole would take too long to encode.

streamed.py finds documents by their words, without the corpus in memory; choose.py says which
documents a pool holds.
"""
