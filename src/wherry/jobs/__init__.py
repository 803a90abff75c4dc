"""Runs a pure function of a JSON spec elsewhere: in a child process with a time limit and a memory limit."""
