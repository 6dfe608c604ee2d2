"""Kernels of Whet, one room per operation: the obvious reference, the fast forms. Knows numpy,
torch, triton and numba.
"""
