"""Which Whet this is."""

VERSION = "0.1.0"
