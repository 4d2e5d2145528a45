"""One step as PyTorch and transformers do it: frozen teacher, student forward and backward, clipping, AdamW; batches padded on the right.
bfloat16 is autocast over float32 weights, the teacher's weights are bfloat16."""
import torch
from torch.nn.functional import cross_entropy

from divergences import divergence
from peer import serve
from qwen2 import qwen2


def make(student, teacher, lengths, masked, kind, dtype):
    model = qwen2(student)
    guide = None if kind is None else qwen2(teacher).eval().requires_grad_(False)
    if guide and dtype == "bfloat16":
        guide = guide.to(torch.bfloat16)
    longest = max(lengths)
    at = torch.arange(longest)[None]
    mask = (at < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(3, student["vocabSize"], mask.shape)
    labels = ids.masked_fill((mask == 0) | (at < masked), -100)[:, 1:]
    valid = labels != -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=8e-5)

    def logits(of):
        return of(ids, attention_mask=mask, use_cache=False).logits[:, :-1][valid]

    def run():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            out = logits(model)
            loss = cross_entropy(out.float(), labels[valid])
            if guide:
                with torch.no_grad():
                    wanted = logits(guide)
                loss = 0.1 * loss + 0.9 * divergence(kind, out, wanted).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        loss.item()

    return run


serve(make)
