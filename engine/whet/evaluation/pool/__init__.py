"""A part of a corpus to judge or to mine in, where the whole would take too long to encode.

choose.py says which documents a pool holds, size.py how many.
"""
