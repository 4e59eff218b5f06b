"""Which decoders of the `transformers` library work: a table over architectures."""
