"""Runs a pure function of a JSON spec in a child process with limits on time and memory, here or on a cluster."""
