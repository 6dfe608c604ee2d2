"""What somebody else's bundle is worth: verified, and its run done again."""
