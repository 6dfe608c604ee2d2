"""The encoder: a transformer, its pooling, and how both are read from and written to folders."""
