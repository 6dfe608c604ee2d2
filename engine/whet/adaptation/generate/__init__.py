"""Queries that a language model of the user's writes: what it is asked, what it costs, what of its
answers is a query, and how a judge orders what they find.
"""
