"""The command line of Whet and what starts its processes; knows Hydra and Ray, alone."""
