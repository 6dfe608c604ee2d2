"""The verbs that may run elsewhere: each to where it is to run."""
