"""Train several tiny transformers at once in the prisoner's dilemma of the post by Turner and Einhorn (2023)."""
