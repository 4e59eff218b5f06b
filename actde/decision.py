"""The decision transformer: imitation of good and bad play, conditioned on the return that followed."""

from actde.imitation import Imitation


class Decision(Imitation):
    """Decision transformer, Chen et al. (2021): imitation, conditioned on the return that followed.

        policy loss = -log pi(a_t | R_t, s_t),   R_t = r_t + r_(t+1) + ... + r_T

    R_t is the return-to-go: the undiscounted sum of the rewards from turn t to the end of the episode. The caller
    writes R_t into the text of turn t, so that pi reads it as a part of the state. The policy learns from bad episodes
    as well as from good ones. When the policy acts, the caller writes the wanted return minus the rewards received so
    far. The policy then plays like the episodes that had this return. A larger wanted return leads to better play only
    up to the highest return in the data.

    The paper trains on recorded play, with a regression loss for continuous actions. Here actions are tokens, so the
    loss is the cross-entropy over the tokens that could be chosen. The policy can also learn from its own episodes. In
    their text, the obtained returns then replace the wanted ones (Online Decision Transformer, Zheng et al., 2022). v
    is trained as in PPO. The text already states the return, so v adds little information.
    """

    name = "decision"
    needs_q = False
    labels = "return"
