"""The k best rows of a corpus for each query, exactly, inside a window of scores."""
