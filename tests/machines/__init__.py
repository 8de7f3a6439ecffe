"""One answer everywhere: the same programs on other onnxruntimes and other processors."""
