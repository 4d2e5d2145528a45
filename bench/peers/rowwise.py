"""Ops that move more than they compute: addRmsNorm, addLayerNorm, swiglu, geglu, and the optimiser's step with clipping."""
import torch
from torch.nn.functional import gelu, layer_norm, rms_norm, silu

from peer import DTYPES, serve


def make(op, rows, cols, dtype):
    t = DTYPES[dtype]
    if op == "adamw":
        p = torch.nn.Parameter(torch.randn(rows, cols))
        p.grad = torch.randn(rows, cols) * 1e-3
        optimiser = torch.optim.AdamW([p], lr=1e-5, weight_decay=0.01, fused=True)

        def step():
            torch.nn.utils.clip_grad_norm_([p], 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=False)

        return step
    x, other, w = torch.randn(rows, cols).to(t), torch.randn(rows, cols).to(t), torch.ones(cols, dtype=t)

    def run():
        with torch.no_grad():
            if op == "swiglu":
                return silu(x) * other
            if op == "geglu":
                return gelu(x) * other
            total = x + other
            if op == "addLayerNorm":
                return layer_norm(total, (cols,), w, None, 1e-5), total
            return rms_norm(total, (cols,), w, 1e-6), total

    return run


serve(make)
