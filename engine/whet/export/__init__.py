"""A model for other runtimes: ONNX, int8 and GGUF, each checked against the model it came from."""
