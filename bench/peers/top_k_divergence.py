"""A divergence from stored probabilities of the teacher's k most probable tokens and of all others together, eager: logits, log-softmax,
gather, log-sum-exp of what is left; gradients of hidden states and head."""
import torch

from divergences import divergence
from peer import DTYPES, serve


def make(kind, tokens, hidden, vocab, k, dtype, backward):
    t = DTYPES[dtype]
    h = torch.randn(tokens, hidden).to(t).requires_grad_(backward)
    w = torch.empty(vocab, hidden, dtype=t).normal_(std=hidden**-0.5).requires_grad_(backward)
    ids = torch.rand(tokens, vocab).topk(k).indices
    teacher = torch.randn(tokens, k + 1).log_softmax(-1)

    def forward():
        logp = (h @ w.T).float().log_softmax(-1)
        top = logp.gather(-1, ids)
        rest = logp.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
        return divergence(kind, torch.cat([top, rest], -1), teacher).sum() / tokens

    def run():
        if not backward:
            with torch.no_grad():
                return forward()
        h.grad = w.grad = None
        forward().backward()

    return run


serve(make)
