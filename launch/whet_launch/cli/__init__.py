"""The command line: verbs, overrides, help, exit codes."""
