"""Looking into compiled programs: `source_map`, `stages`, `explain` and `profile` of compiled functions."""
