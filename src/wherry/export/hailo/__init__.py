"""Hailo: where the network is cut, what the vendor's compiler is told, and the kit that holds it all."""
