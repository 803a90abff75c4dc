"""Quantization: a float ONNX file in, a smaller one out; shared by the targets that start from ONNX."""
