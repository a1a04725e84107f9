"""The report of one run: `fsmde report`."""
