"""A search adapted to a corpus without labels: gates, made queries, a teacher."""
