"""The published forms of LARS, as choices in one record.

The word LARS does not settle what is in the denominator, which of the two rates stand
inside the momentum, whether the local rate is clipped, what a zero norm means, or
whether an excluded leaf decays. Each published implementation settles them its own way,
and `docs/which_lars.md` tells what follows for learning rates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Literal, get_args

from lars_jax.optim.numbers import require_bool, require_number


@dataclass(frozen=True)
class Variant:
    """What distinguishes one published LARS from another.

    In the formulas g is the gradient, w the weights, u = g + beta w, v the momentum
    buffer, m the momentum, gamma the global rate and lambda the trust ratio.

    Raises:
        ValueError: a choice that is none of those listed, or two that exclude each
            other.

    The step of a layer with ||w|| = 5 and ||g|| = 2, and that of one with ||w|| = 0:

    >>> import jax.numpy as jnp
    >>> from lars_jax.optim import scale_by_lars
    >>> tx = scale_by_lars(0.1, variant=Variant(zero_norm="coefficient"))
    >>> w, g = [jnp.array([3.0, 4.0]), jnp.zeros(2)], [jnp.array([0.0, 2.0])] * 2
    >>> print(tx.update(g, tx.init(w), w)[1].trust_ratio)
    0: 0.25, 1: 0.1
    """

    denominator: Literal["split", "fused", "gradient", "momentum"] = "split"
    """`split`: ||g|| + beta ||w|| (Equation 6); `fused`: ||u||; `gradient`: ||g||;
    `momentum`: ||v||, which is measured once the momentum is in."""

    rates: Literal["inside", "local_inside", "outside"] = "inside"
    """`inside`: v = m v + gamma lambda u, w -= v (Algorithm 1);
    `local_inside`: v = m v + lambda u, w -= gamma v;
    `outside`: v = m v + u, w -= gamma lambda v."""

    clip: bool = False
    """Take min(gamma, lambda) in place of gamma lambda, so that a leaf never moves
    faster than it would without LARS."""

    zero_norm: Literal["one", "undecayed", "coefficient"] = "one"
    """What a leaf takes whose weights or gradient have norm zero. `one`: lambda = 1;
    `undecayed`: lambda = 1, neither clipped nor decayed; `coefficient`: eta."""

    decay: Literal["step", "norm"] = "step"
    """`step`: beta w is part of the step; `norm`: it is in the denominator only."""

    decay_excluded: bool = True
    """Whether leaves outside `trust_ratio_mask` decay where no `weight_decay_mask` is
    given."""

    eps: float = 0.0
    """Added to the denominator, beside the `eps` of the call."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, choices = getattr(self, field.name), get_args(field.type)
            if choices and value not in choices:
                raise ValueError(
                    f"{field.name} must be one of {list(choices)}; got {value!r}"
                )
            if field.type is bool:
                require_bool(field.name, value)
        require_number("eps", self.eps)
        if self.denominator == "momentum" and self.rates != "outside":
            raise ValueError(
                "a ratio measured on the momentum can only stand outside of it; got "
                f"denominator='momentum' with rates={self.rates!r}: use "
                "rates='outside'"
            )
        if self.denominator == "momentum" and self.decay == "norm":
            raise ValueError(
                "the norm of the momentum has no decay of its own; got "
                "denominator='momentum' with decay='norm': use decay='step'"
            )
        if self.denominator == "momentum" and self.zero_norm == "undecayed":
            raise ValueError(
                "zero_norm='undecayed' takes the decay back out of a step, which is "
                "too late once momentum holds it; got denominator='momentum': use "
                "zero_norm='one'"
            )


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "paper": Variant(),
        "optax": Variant(denominator="fused"),
        "larc_clip": Variant(denominator="gradient", clip=True),
        "larc_apex_clip": Variant(
            rates="local_inside", clip=True, zero_norm="undecayed", eps=1e-8
        ),
        "larc_apex_scale": Variant(
            rates="local_inside", zero_norm="undecayed", eps=1e-8
        ),
        "mlperf_scaled": Variant(rates="outside", decay_excluded=False),
        "tf_contrib": Variant(rates="outside", decay="norm"),
        "simclr_popular": Variant(denominator="momentum", rates="outside"),
        "byol": Variant(
            denominator="fused", rates="local_inside", decay_excluded=False
        ),
    }
)
"""Published implementations by name; `docs/which_lars.md` says who computes each.

Apex leaves out leaves of a group without decay, which are masks here, and so do those
that follow it; its usual coefficient is 0.02.
"""


def resolve_variant(variant: str | Variant) -> Variant:
    """Return the variant of that name, or the variant itself."""
    if isinstance(variant, Variant):
        return variant
    if not isinstance(variant, str) or variant not in VARIANTS:
        choices = ", ".join(field.name for field in fields(Variant))
        raise ValueError(
            f"variant must be one of {list(VARIANTS)}; got {variant!r}: pick one, or "
            f"pass a Variant with its own {choices}"
        )
    return VARIANTS[variant]
