"""The decision transformer: imitation of all play, given the return that followed."""

from actde.imitation import Imitation


class Decision(Imitation):
    """Decision transformer, Chen et al. (2021): supervised learning of actions, given the return that followed.

        policy loss = -log pi(a_t | R_t, s_t),   R_t = r_t + r_(t+1) + ... + r_T

    R_t is the return-to-go: the undiscounted sum of the rewards from turn t to the end of the episode. The caller
    writes R_t into the text of turn t, so that pi reads it as a part of the state. When the policy acts, the caller
    writes the wanted return minus the rewards received so far. A policy that was fitted to all play thus reproduces
    the play that had the wanted return. The policy imitates bad play as well as good play. A larger wanted return
    selects better play only up to the highest return in the data.

    The paper trains on recorded play and regresses actions of continuous control. Here actions are tokens, so the loss
    is the cross-entropy over the alternatives of each choice. The policy's own episodes are relabelled with the returns
    that they obtained (Online Decision Transformer, Zheng et al., 2022). v is trained as in PPO and predicts little
    more than the stated return.
    """

    name = "decision"
    needs_q = False
    labels = "return"
