"""The decision transformer."""

from actde.imitation import Imitation


class Decision(Imitation):
    """Decision transformer, Chen et al. (2021): imitation conditioned on the return.

        policy loss = -log pi(a_t | R_t, s_t),   R_t = r_t + r_(t+1) + ... + r_T

    R_t is the sum of the rewards from turn t to the last turn T, without discount. The caller must write R_t into the
    prompt of turn t. In play, R_t is a target return minus the rewards before turn t.
    """

    name = "decision"
    needs_q = False
    labels = "return"
