"""What people said about results: events, kept for good, and the judgments they add up to."""
