"""`whet serve`: vectors, searches and scores of a tuned model over HTTP, and a change of the model
while it is asked.
"""
