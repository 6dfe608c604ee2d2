"""Hard negatives: which documents a model ranks too high for a query, and may be trained against.

`miner.mine` is the one function; policy.py says what may be a negative, search/ finds it, sample.py
draws from it, report.py tells what happened, files.py and exports.py write it down. The exact
semantics: docs/mining.md.
"""
