"""The game on finite distributions, in float64 and closed form.

An atom is a place where samples can be. `data` holds the probability of each atom under
the data, [N], and `made` under each generator, [K, N]; `weights` are pi, [K]. All that
is here follows the paper and nothing that is tested.
"""

import numpy as np
from scipy.special import rel_entr, xlogy


def optimal_discriminator(data, made, weights):
    """Return D* of each atom, [N]; 1/2 where nothing ever is (Proposition 1)."""
    mixed = weights @ made
    total = data + mixed
    return np.where(total > 0, data / np.where(total > 0, total, 1.0), 0.5)


def optimal_classifier(made, weights):
    """Return C* of each atom, [K, N]; uniform where no generator ever is."""
    joint = weights[:, None] * made
    total = joint.sum(axis=0)
    share = joint / np.where(total > 0, total, 1.0)
    return np.where(total > 0, share, 1.0 / len(weights))


def entropy(weights):
    return -xlogy(weights, weights).sum()


def divergence(p, q):
    """Return JSD(p || q), in nats."""
    middle = (p + q) / 2
    return (rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2


def generalised_divergence(made, weights):
    """Return JSD_pi(p_1 .. p_K) = sum_k pi_k KL(p_k || p_mix)."""
    mixed = np.broadcast_to(weights @ made, made.shape)
    return weights @ rel_entr(made, mixed).sum(axis=1)


def value_of_theorem(data, made, weights, beta):
    """Return J(G, C*, D*) as Theorem 2 has it."""
    return (
        2 * divergence(data, weights @ made)
        - np.log(4)
        - beta * generalised_divergence(made, weights)
        + beta * entropy(weights)
    )
