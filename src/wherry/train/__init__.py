"""Makes a checkpoint: data-set snapshots, recipes, runs that survive an interruption, evaluation and lineage."""
