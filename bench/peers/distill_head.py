"""The head as PyTorch users write it: logits of both models, 0.1 CE + 0.9 divergence, gradients of hidden states and head."""
import torch
from torch.nn.functional import cross_entropy

from divergences import divergence
from peer import DTYPES, serve


def make(kind, tokens, hidden, teacherHidden, vocab, dtype, beta):
    t = DTYPES[dtype]
    h, h2 = torch.randn(tokens, hidden).to(t), torch.randn(tokens, teacherHidden).to(t)
    w = torch.empty(vocab, hidden, dtype=t).normal_(std=hidden**-0.5)
    w2 = torch.empty(vocab, teacherHidden, dtype=t).normal_(std=teacherHidden**-0.5)
    labels = torch.randint(0, vocab, (tokens,))
    h.requires_grad_()
    w.requires_grad_()

    def run():
        h.grad = w.grad = None
        student = h @ w.T
        with torch.no_grad():
            teacher = h2 @ w2.T
        loss = 0.1 * cross_entropy(student.float(), labels, reduction="sum") + 0.9 * divergence(kind, student, teacher, beta).sum()
        (loss / tokens).backward()

    return run


serve(make)
