"""Runs for deployment: towers as ONNX graphs, and how near they come to the run."""
