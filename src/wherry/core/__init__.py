"""The words: frozen dataclasses, digests, errors and one JSON codec. No files, network, clock or torch."""
