"""A trainable copy of the upper layers of a trunk, which v and q read while the policy is fixed."""

import copy

from torch import Tensor, nn

from agents.model.actor_critic import ActorCritic
from agents.model.lower_layers import FrozenStates, layer_list, upper_layers_only


class OwnLayers(nn.Module):
    """A trainable copy of the last layers and of the final norm of a trunk.

    As with an adapter, the trained parameters are float32, and the pass computes in the data type of the trunk.

    Args:
        model: the model whose trunk is copied. It does not change.
        count: number of layers, at least 1.
    """

    def __init__(self, model: ActorCritic, count: int) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.model.forget_conversions()
        layers, children = layer_list(self.model), list(self.model.decoder.children())
        assert layers is not None and 0 < count < len(layers)
        above = children[children.index(layers) + 1 :]
        self.trained = nn.ModuleList([*layers[-count:], *above]).float().requires_grad_(True)

    def forward(self, tokens: Tensor, lower: FrozenStates) -> Tensor:
        """Return the final hidden states [b, L, d] of tokens [b, L]. `lower` holds the output of the lower layers."""
        with upper_layers_only(self.model, lower):
            return self.model.hidden_states(tokens, use_cache=False)
