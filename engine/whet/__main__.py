"""`python -m whet fit ...` does what `whet fit ...` does."""

import runpy

# by name: whet knows nothing of the command line, which stands on it
runpy.run_module("whet_launch", run_name="__main__")
