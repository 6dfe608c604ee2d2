"""Vectors of texts: computed in resumable segments, kept, never computed twice."""
