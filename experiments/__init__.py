"""What the project was built to find out: comparisons of optimizers over seeds, tables and figures."""
