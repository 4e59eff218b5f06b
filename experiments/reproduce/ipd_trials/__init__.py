"""Train several tiny transformers at once in the prisoner's dilemma of Turner and Einhorn's post."""
