"""Which pairs a step sees, as token ids of the queries, positives and negatives."""
