"""The decision transformer: imitation conditioned on the return."""

from actde.imitation import Imitation


class Decision(Imitation):
    """Decision transformer, Chen et al. (2021): imitation conditioned on the return.

        policy loss = -log pi(a_t | R_t, s_t),   R_t = r_t + r_(t+1) + ... + r_T

    R_t is the undiscounted sum of the rewards from turn t to the end of the episode. The caller writes R_t into the
    text of turn t. In play, the caller writes the target return minus the rewards received so far.

    The loss is the cross-entropy over the tokens that could be chosen. The policy can also learn from its own episodes,
    as in the Online Decision Transformer (Zheng et al., 2022). v is trained as in PPO.
    """

    name = "decision"
    needs_q = False
    labels = "return"
