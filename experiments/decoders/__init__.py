"""Test which decoders of the `transformers` library work as the trunk of an agent."""
