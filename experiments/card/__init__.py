"""The evaluation card (`evaluate --card`): one document with the results of agents on fixed, held-out games."""
