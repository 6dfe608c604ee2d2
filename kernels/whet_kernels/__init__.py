"""Kernels of Whet, one file an operation: the obvious reference, the fast form, the wrapper. Knows
numpy, torch, triton and numba.
"""
