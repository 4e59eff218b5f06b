"""Compare optimizers, evaluate and release agents, and reproduce the post by Turner and Einhorn (2023)."""
