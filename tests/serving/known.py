"""Known answers for one server whose batch of n takes t(n) = tau0 + alpha n, under Poisson arrivals. None uses the simulator."""

import numpy as np
from scipy import stats


def single(rate, seconds):
    """Mean latency of M/D/1, s + lambda s^2 / (2 (1 - lambda s)) (Pollaczek and Khinchine)."""
    return seconds + rate * seconds**2 / (2 * (1 - rate * seconds))


def stationary(transitions):
    """The row vector pi of pi P = pi, sum pi = 1."""
    n = len(transitions)
    equations = np.vstack([transitions.T - np.eye(n), np.ones(n)])
    return np.linalg.lstsq(equations, np.append(np.zeros(n), 1.0), rcond=None)[0]


def take_all(rate, alpha, tau0, *, most=200):
    """Mean latency if a batch is all that waits: the chain of sizes B' = max(1, Poisson(lambda S)), S = alpha B + tau0."""
    sizes = np.arange(1, most + 1)
    seconds = alpha * sizes + tau0
    transitions = stats.poisson.pmf(np.arange(most + 1)[None, :], rate * seconds[:, None])
    transitions[:, 1] += transitions[:, 0]  # the server waits for one
    transitions = transitions[:, 1:]
    transitions[:, -1] += 1 - transitions.sum(axis=1)
    pi = stationary(transitions)
    first, second, empty = pi @ seconds, pi @ seconds**2, pi @ np.exp(-rate * seconds)
    waiting = rate * second / 2 + alpha * (rate * first + rate**2 * second)
    return (waiting + tau0 * rate * first + empty * (alpha + tau0)) / (rate * first + empty)


def capped(rate, seconds, cap, *, most=400):
    """Mean latency if a batch is at most `cap` and takes the same time whatever its size: the chain of queues at departures.

    Over a cycle from a departure that leaves Q, the number in the system is Q + lambda t for `seconds`, or, if Q = 0, first
    nobody for 1 / lambda and then 1 + lambda t. Its mean over the mean of the arrivals is the latency (Little).
    """
    queue = np.arange(most + 1)
    after = np.maximum(queue - cap, 0)
    transitions = stats.poisson.pmf(queue[None, :] - after[:, None], rate * seconds)
    transitions[:, -1] += 1 - transitions.sum(axis=1)
    pi = stationary(transitions)
    area = (pi @ queue) * seconds + pi[0] * seconds + rate * seconds**2 / 2
    return area / (rate * seconds + pi[0])


def window(rate, wait):
    """(mean size, mean wait) if the server is always free: a batch closes `wait` after its first request."""
    return 1 + rate * wait, wait * (1 + rate * wait / 2) / (1 + rate * wait)


def inoue(rate, alpha, tau0):
    """An upper bound of `take_all` (Inoue 2021, arXiv 1912.06322)."""
    load = rate * alpha
    first = (alpha + tau0) / (2 * (1 - load)) * (1 + 2 * rate * tau0 + (1 - rate * tau0) / (1 + load))
    second = 3 * tau0 / (2 * (1 - load)) + alpha * (load + 2) / (2 * (1 - load**2))
    return min(first, second)


def burstiness(rates, stays):
    """Variance of the count of an MMPP-2 over its mean, in a long time (Heffes and Lucantoni 1986, equation 10)."""
    (one, other), (leave, back) = rates, (1 / stays[0], 1 / stays[1])
    return 1 + 2 * (one - other) ** 2 * leave * back / ((leave + back) ** 2 * (one * back + other * leave))
