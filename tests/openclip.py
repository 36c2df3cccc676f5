"""A CLIP as OpenCLIP builds it, small, and pickled from a module that exists only while it is pickled."""

from __future__ import annotations

import sys
import types
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * torch.sigmoid(1.702 * values)


class ResidualAttentionBlock(nn.Module):
    def __init__(self, width: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 2 * width), gelu=act(), c_proj=nn.Linear(2 * width, width))
        )

    def forward(self, values: Tensor) -> Tensor:
        normed = self.ln_1(values)
        values = values + self.attn(normed, normed, normed, need_weights=False)[0]
        return values + self.mlp(self.ln_2(values))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([ResidualAttentionBlock(width, act) for _ in range(layers)])


class VisualTransformer(nn.Module):
    def __init__(self, act: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 128, 4, 4, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(128))
        self.positional_embedding = nn.Parameter(torch.randn(10, 128))
        self.ln_pre = nn.LayerNorm(128)
        self.transformer = Transformer(128, 2, act)
        self.ln_post = nn.LayerNorm(128)
        self.proj = nn.Parameter(torch.randn(128, 24) / 11)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        start = self.class_embedding.expand(len(images), 1, -1)
        values = self.ln_pre(torch.cat([start, patches], 1) + self.positional_embedding).transpose(0, 1)
        for block in self.transformer.resblocks:
            values = block(values)
        return self.ln_post(values[0]) @ self.proj


class CLIP(nn.Module):
    def __init__(self, act: type[nn.Module]) -> None:
        super().__init__()
        self.visual = VisualTransformer(act)
        self.transformer = Transformer(64, 1, act)
        self.token_embedding = nn.Embedding(30, 64)
        self.positional_embedding = nn.Parameter(torch.randn(7, 64))
        self.ln_final = nn.LayerNorm(64)
        self.text_projection = nn.Parameter(torch.randn(64, 24))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("attn_mask", torch.full((7, 7), float("-inf")), persistent=False)


class ImageEncoder(nn.Module):
    """What the published fine-tunes are: a CLIP without the transformer of its text tower."""

    def __init__(self, model: CLIP) -> None:
        super().__init__()
        self.model = model
        self.cache_dir = None
        del model.transformer


PARTS = {
    "open_clip.model": (QuickGELU, ResidualAttentionBlock, Transformer, VisualTransformer, CLIP),
    "src.modeling": (ImageEncoder,),
}


def small_clip(act: type[nn.Module] = QuickGELU, *, seed: int = 0) -> CLIP:
    """Make one with every parameter away from its first value."""
    generator = torch.Generator().manual_seed(seed)
    model = CLIP(act)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 8)
    return model


def save_module(module: nn.Module, path: Path, *, as_zip: bool = True) -> Path:
    """Pickle a whole module, whose classes then are nowhere to be imported from."""
    with _published(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old format looks for the source of the classes
        torch.save(module, path, _use_new_zipfile_serialization=as_zip)
    return path


@contextmanager
def _published() -> Iterator[None]:
    own = {kind: kind.__module__ for kinds in PARTS.values() for kind in kinds}
    names = {name.rpartition(".")[0] for name in PARTS} | set(PARTS)
    try:
        sys.modules.update({name: types.ModuleType(name) for name in names})
        for name, kinds in PARTS.items():
            for kind in kinds:
                kind.__module__ = name
                setattr(sys.modules[name], kind.__name__, kind)
        yield
    finally:
        for kind, module in own.items():
            kind.__module__ = module
        for name in names:
            del sys.modules[name]
