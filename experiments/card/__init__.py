"""The evaluation card: fixed tasks on held-out games, every agent on each, one document (`evaluate --card`).

What is played is in `tasks`, which games are held out in `held_out`, playing and keeping rows in `rows`, and the
document that follows from the rows in `document`.
"""
