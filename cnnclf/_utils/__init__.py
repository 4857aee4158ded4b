"""What every package uses: text, tables, bounded reads and atomic writes, digests, labels as JSON, frozen records."""
