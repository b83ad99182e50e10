"""Makes a classifier of an encoder: probe, fine-tuning, measurement, ONNX, int8, and a card of it all."""
