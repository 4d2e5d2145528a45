"""The divergences in PyTorch, from logits [tokens, vocab] to one number a token."""
import math

import torch


def divergence(kind, student, teacher, beta=0.5):
    s, t = student.float().log_softmax(-1), teacher.float().log_softmax(-1)
    if kind == "forwardKL":
        return (t.exp() * (t - s)).sum(-1)
    if kind == "reverseKL":
        return (s.exp() * (s - t)).sum(-1)
    if kind == "symmetricKL":
        return ((t.exp() - s.exp()) * (t - s)).sum(-1)
    if kind == "totalVariation":
        return 0.5 * (t.exp() - s.exp()).abs().sum(-1)
    if kind == "jensenShannon":
        beta = 0.5
    m = torch.logaddexp(t + math.log(beta), s + math.log(1 - beta))
    return beta * (t.exp() * (t - m)).sum(-1) + (1 - beta) * (s.exp() * (s - m)).sum(-1)
