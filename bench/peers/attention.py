"""scaled_dot_product_attention with grouped heads over sequences of some lengths, right-padded to the longest where they differ."""
import torch
from torch.nn.functional import scaled_dot_product_attention

from peer import DTYPES, serve


def make(lengths, heads, kvHeads, headDim, dtype, backward):
    batch, longest = len(lengths), max(lengths)
    q, k, v = (torch.randn(batch, n, longest, headDim).to(DTYPES[dtype]).requires_grad_(backward) for n in (heads, kvHeads, kvHeads))
    dout = torch.randn(batch, heads, longest, headDim).to(DTYPES[dtype])
    visible = None
    if min(lengths) != longest:
        at = torch.arange(longest)
        visible = (at[None] <= at[:, None])[None, None] & (at[None] < torch.tensor(lengths)[:, None])[:, None, None]

    def forward():
        return scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=visible is None, enable_gqa=True)

    def run():
        if not backward:
            with torch.no_grad():
                forward()
            return
        q.grad = k.grad = v.grad = None
        forward().backward(dout)

    return run


serve(make)
