"""What is minimised, and how a batch too large for memory is."""
