"""Train several tiny transformers of the post by Turner and Einhorn (2023) at once, in its iterated dilemma."""
