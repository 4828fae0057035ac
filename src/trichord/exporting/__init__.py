"""Export of runs: encoders as ONNX graphs, compared with the run."""
