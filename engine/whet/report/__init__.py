"""The report of a run: one self-contained HTML page, made from what lies in the run folder."""
