"""Data in: readers of all formats, the checks, and the tables everything else works on."""
