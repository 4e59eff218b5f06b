"""Test which decoders of `transformers` work as the language model of an agent."""
