"""The command line: one verb, one function. Parse, call, print."""
