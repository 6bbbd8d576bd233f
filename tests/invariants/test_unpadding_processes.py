"""Unpadded models with sparse embeddings under DistributedDataParallel: gradients of one process with the whole batch."""

from __future__ import annotations

import pytest

PROGRAM = """
import copy, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import BertForTokenClassification
from transformers.models.bert import BertConfig
from finetune.models.unpadding.hooks import unpad_encoder
from finetune.models.sparse_embedding import use_sparse_embedding
from finetune.run.process_exit import leave

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
config = BertConfig(vocab_size=101, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3)
plain = BertForTokenClassification(config)
fast = copy.deepcopy(plain)
assert unpad_encoder(fast) is None and use_sparse_embedding(fast, range(5, 60)) is None
lengths = torch.tensor([11, 3, 5, 7])
mask = (torch.arange(11) < lengths[:, None]).long()
ids = torch.randint(5, 60, mask.shape) * mask
labels = torch.where(mask.bool(), torch.randint(3, mask.shape), -100)
total = int(mask.sum())

def share(model, rows):
    logits = model(ids[rows], mask[rows]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[rows].flatten(), reduction="sum") / total

share(plain, slice(None)).backward()
wrapped = DistributedDataParallel(fast)
(share(wrapped, slice(2 * rank, 2 * rank + 2)) * dist.get_world_size()).backward()
for (name, expected), found in zip(plain.named_parameters(), fast.parameters(), strict=True):
    gradient = expected.grad if "word_embeddings" not in name else expected.grad[fast.get_input_embeddings().trained_ids]
    torch.testing.assert_close(found.grad, gradient, rtol=1e-4, atol=1e-6, msg=lambda m: f"{name}: {m}")
leave(0)
"""


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one(run_program_twice):
    run_program_twice(PROGRAM)
