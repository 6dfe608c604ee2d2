"""Which weights a fit returns: judged at a few moments, chosen in the end, or refused
(docs/fitting.md).

pool.py and guard.py judge a model cheaply, moments.py keeps what came of it while the model trains,
weights.py mixes weights with the base's, choice.py decides.
"""
