"""Files that are whole or absent: the only code that promises what is on the disk."""
