"""The evaluation card (`evaluate --card`): results of agents on fixed, held-out games."""
