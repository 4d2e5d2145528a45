"""x [m, k], w [n, k], dy [m, n]: y = x w^T, dx = dy w, dw += dy^T x, into memory that is there."""
import torch

from peer import DTYPES, serve


def make(mode, m, n, k, dtype):
    t = DTYPES[dtype]
    w = torch.randn(n, k).mul_(k**-0.5).to(t)
    if mode == "y":
        x, y = torch.randn(m, k).to(t), torch.empty(m, n, dtype=t)
        return lambda: torch.mm(x, w.t(), out=y)
    dy = torch.randn(m, n).to(t)
    if mode == "dx":
        dx = torch.empty(m, k, dtype=t)
        return lambda: torch.mm(dy, w, out=dx)
    x, dw = torch.randn(m, k).to(t), torch.zeros(n, k, dtype=t)
    return lambda: dw.addmm_(dy.t(), x)


serve(make)
