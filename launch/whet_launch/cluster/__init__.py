"""A job on a Ray cluster: processes on its nodes, sweeps, encoders, miners."""
