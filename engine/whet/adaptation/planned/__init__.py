"""What `whet adapt` will take, before it begins.

amounts.py counts what there is to do, measured.py how fast this machine does each part, costs.py
makes seconds, bytes and money of both, overview.py says it.
"""
