"""How good a model is, and whether it got better: retrieve, score, compare, write TREC files."""
