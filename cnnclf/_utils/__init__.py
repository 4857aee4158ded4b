"""What every package uses: text, tables, files, labels and frozen records."""
