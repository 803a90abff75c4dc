"""Opens what training left and captures the program: scan, open, load into a network, capture."""
