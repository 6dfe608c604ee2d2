"""The command line of Whet; the only package that knows Hydra."""
