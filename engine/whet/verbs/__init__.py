"""What each verb does, in order: one module a verb."""
