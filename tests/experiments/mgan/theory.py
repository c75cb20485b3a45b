"""The game on finite distributions, in float64 and closed form.

An atom is a place where samples can be. `data` holds the probability of each atom under
the data, [N], and `made` under each generator, [K, N]; `weights` are pi, [K]. All that
is here follows the paper and nothing that is tested.
"""

import numpy as np
from scipy.special import rel_entr, xlogy


def random_game(seed, generators=None, atoms=None):
    """Return data, made and weights, with atoms that some of them never reach."""
    random = np.random.default_rng(seed)
    generators = generators or int(random.integers(1, 6))
    atoms = atoms or int(random.integers(2, 12))
    # Small concentrations give distributions that nearly leave atoms out; the mask
    # leaves some out altogether.
    made = random.dirichlet(np.full(atoms, 0.4), generators)
    made *= random.random(made.shape) < 0.8
    made[:, 0] += 0.01
    data = random.dirichlet(np.full(atoms, 0.4))
    data[random.integers(atoms)] = 0.0
    data[0] += 0.01
    weights = random.dirichlet(np.full(generators, 1.0))
    return data / data.sum(), made / made.sum(axis=1, keepdims=True), weights


def separated_game(seed, generators, atoms_each=3):
    """Return a game whose generators make one component of the data each."""
    random = np.random.default_rng(seed)
    made = np.zeros((generators, generators * atoms_each))
    for k in range(generators):
        own = slice(k * atoms_each, (k + 1) * atoms_each)
        made[k, own] = random.dirichlet(np.ones(atoms_each))
    weights = random.dirichlet(np.ones(generators))
    return weights @ made, made, weights


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


def cross_entropy(classifier, made, weights):
    """Return - sum_k pi_k E_{G_k} log C_k."""
    return -xlogy(weights[:, None] * made, classifier).sum()


def game_value(data, made, weights, discriminator, classifier, beta):
    """Return J(G, C, D): G and C minimise it, D maximises it (Equation 2)."""
    mixed = weights @ made
    real = xlogy(data, discriminator).sum()
    fake = xlogy(mixed, 1.0 - discriminator).sum()
    return real + fake + beta * cross_entropy(classifier, made, weights)


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
