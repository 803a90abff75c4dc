"""TensorRT: what the builder is told, and the kit that builds the engine on the device."""
