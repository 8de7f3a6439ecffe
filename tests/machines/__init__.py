"""Run the same programs on other onnxruntime versions and processors: they must give the same digests."""
