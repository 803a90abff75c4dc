"""Golden sets, comparison, task metrics, benchmark and choice: what makes a variant `Proven`."""
