"""`python -m whet_launch fit ...` does what `whet fit ...` does."""

import sys

from whet_launch.cli.main import main

sys.exit(main())
