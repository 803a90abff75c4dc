"""How the tables came to be, one small step a file; run by `wherry.registry.database` and by nobody else."""
