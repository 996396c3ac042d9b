"""Long runs: what must be the same at the end as at the beginning."""
