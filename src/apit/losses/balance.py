"""Balance: how heavy L_PIT is beside L_sep, so that both pull equally hard at the separator."""

from torch import Tensor


class Balance:
    """λ = ‖∂L_sep/∂o‖ / ‖∂L_PIT/∂o‖ at the separator's outputs o, as a running mean. [ours]

    The paper says that λ L_PIT is of the same magnitude as L_sep, and not how. A ratio of values
    would not do: L_PIT is in dB, and −D of a critic that wins grows without bound. `decay` 0 takes
    each batch's own; `state` is the mean so far, for checkpoints.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.state: float | None = None

    def __call__(self, adversarial: Tensor, pit: Tensor) -> float:
        """Norms [] of both gradients over the whole batch → λ.

        Gradients that vanish, or are not finite, change nothing.
        """
        ratio = float(adversarial / pit) if pit > 0 else 0.0
        if 0 < ratio < float("inf"):
            before = ratio if self.state is None else self.state
            self.state = self.decay * before + (1 - self.decay) * ratio
        return 1.0 if self.state is None else self.state
