"""Files of rows: jsonl, JSON, csv, tsv, parquet and Arrow, and what the columns of a row mean."""
