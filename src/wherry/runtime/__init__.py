"""A variant and inputs to outputs: engines, preprocessing, postprocessing."""
