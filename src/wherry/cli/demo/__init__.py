"""The demo: a real model down the whole road, in nine steps, then trouble on purpose."""
