"""Data of a file each: documents and pictures in folders; pictures in arrays."""
