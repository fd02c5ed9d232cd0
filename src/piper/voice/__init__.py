"""A voice: its network as ONNX, run by ONNX Runtime."""
