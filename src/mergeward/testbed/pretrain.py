"""Contrastive pretraining of the test-bed's base, resumable at any step."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from mergeward.checkpoint import atomic_directory
from mergeward.compute import fixed_threads, thread_count
from mergeward.errors import DataError
from mergeward.output import system_errors
from mergeward.processes import check_alone
from mergeward.progress import track
from mergeward.provenance import Provenance
from mergeward.seeding import torch_generator
from mergeward.tasks import Task
from mergeward.testbed.card import write_card
from mergeward.testbed.corpus import CAPTION_TEMPLATES, Corpus, batch_indices, build_corpus
from mergeward.testbed.model import PREPROCESSOR, new_model
from mergeward.testbed.tokenizer import train_tokenizer
from mergeward.train import shift
from mergeward.vision.clip import ClipEncoder

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer

MAX_LOGIT_SCALE = math.log(100.0)


@dataclass(frozen=True)
class PretrainConfig:
    """How a base is pretrained.

    Attributes:
        steps: Optimiser steps.
        batch_size: Images a step.
        learning_rate: Peak rate of AdamW; cosine decay to zero after a linear warm-up.
        warmup_steps: Steps of the warm-up.
        weight_decay: Decoupled weight decay of matrices (not of biases, norms and the logit scale).
        save_every: Steps between two saves of the state that an interrupted run resumes from.
        seed: Seed of weights, order, captions and shifts.
    """

    steps: int = 4000
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    save_every: int = 250
    seed: int = 0


def pretrain(
    tasks: Sequence[Task],
    out: Path,
    config: PretrainConfig = PretrainConfig(),
    progress_file: Path | None = None,
) -> None:
    """Pretrain a small CLIP on the train splits of `tasks` and write it as a Hugging Face directory.

    The loss is CLIP's symmetric cross-entropy with one caption for each distinct phrase of a batch, so that
    two images of the same class are never each other's negatives (the "unified" contrastive loss of UniCL,
    arXiv 2204.03610). Forward passes use bfloat16, weights and moments are float32. The state is kept in
    a file until the end; the same call resumes from it with the same result.

    Args:
        tasks: Where images and class names come from.
        out: Directory to write: float16 weights, config, tokenizer, preprocessor and model card.
        config: Steps, rates and seed.
        progress_file: Where the state is kept; by default beside `out`, as `OUT.progress.safetensors`.

    Raises:
        UsageError: A launcher started several processes.
        DataError: The tasks hold fewer images than one batch.
        OutputError: `out` cannot be written or exists.
    """
    check_alone("pretrain")
    corpus = build_corpus(tasks, PREPROCESSOR)
    if len(corpus.pixels) < config.batch_size:
        raise DataError(f"{len(corpus.pixels)} images are fewer than one batch of {config.batch_size}")
    progress_file = progress_file or out.with_name(f"{out.name}.progress.safetensors")
    with atomic_directory(out) as folder, fixed_threads():
        tokenizer = train_tokenizer(corpus.captions())
        model = new_model(tokenizer, seed=config.seed)
        trainer = _Trainer(model, tokenizer, corpus, config)
        started = time.perf_counter()
        first_step = trainer.resume(progress_file)
        steps = track(range(first_step, config.steps), "pretrain")
        for step in steps:
            steps.note = f"loss {trainer.step(step):.3f}"
            if (step + 1) % config.save_every == 0:
                trainer.save(progress_file, step + 1)
        seconds = time.perf_counter() - started
        _save(model, folder, config)
        tokenizer.save_pretrained(folder)
        write_card(folder, tasks, config, seconds, thread_count())
    progress_file.unlink(missing_ok=True)


def _save(model: CLIPModel, folder: Path, config: PretrainConfig) -> None:
    record = Provenance(kind="base", method="pretrain", parameters=asdict(config), seed=config.seed)
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    with system_errors():
        save_file(weights, folder / "model.safetensors", {"format": "pt", **record.to_metadata()})
    model.config.architectures = ["CLIPModel"]
    model.config.dtype = torch.float16
    model.config.save_pretrained(folder)


class _Trainer:
    """Model, optimiser and data of one run; every step is a function of its number and the state."""

    def __init__(
        self, model: CLIPModel, tokenizer: CLIPTokenizer, corpus: Corpus, config: PretrainConfig
    ) -> None:
        self.model = model.train()
        self.encoder = ClipEncoder(model, PREPROCESSOR)
        self.corpus = corpus
        self.config = config
        self.caption_tokens = tokenizer(corpus.captions(), padding=True, truncation=True, return_tensors="pt")
        matrices = [value for value in model.parameters() if value.ndim >= 2]
        others = [value for value in model.parameters() if value.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)

    def step(self, step: int) -> float:
        """Take one optimiser step and return the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(step)
        generator = torch_generator(self.config.seed, "pretrain", "step", step)
        chosen = batch_indices(len(self.corpus.pixels), self.config.batch_size, step, self.config.seed)
        pixels = shift(self.corpus.pixels[chosen], generator).float() / 255
        phrases, owners = self.corpus.phrase_index[chosen].unique(return_inverse=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            images = self.encoder(pixels)
            texts = self._text_features(phrases, generator)
        loss = contrastive_loss(images.float(), texts.float(), owners, self.model.logit_scale.exp())
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        return loss.item()

    def _rate(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / self.config.warmup_steps)
        return self.config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / self.config.steps))

    def _text_features(self, phrases: Tensor, generator: torch.Generator) -> Tensor:
        templates = torch.randint(len(CAPTION_TEMPLATES), phrases.shape, generator=generator)
        rows = phrases * len(CAPTION_TEMPLATES) + templates
        tokens = {name: value[rows] for name, value in self.caption_tokens.items()}
        pooled = self.model.text_model(**tokens).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def save(self, path: Path, next_step: int) -> None:
        """Write everything that the next step depends on."""
        tensors = {}
        for name, value in self.model.named_parameters():
            state = self.optimiser.state[value]
            tensors[f"weight/{name}"] = value.detach()
            tensors[f"exp_avg/{name}"] = state["exp_avg"]
            tensors[f"exp_avg_sq/{name}"] = state["exp_avg_sq"]
        scratch = path.with_suffix(".tmp")
        with system_errors():
            save_file(tensors, scratch, {"next_step": str(next_step), "run": self._run_identity()})
        scratch.replace(path)

    def resume(self, path: Path) -> int:
        """Restore the state saved by the same run, if there is one; return the step to go on with."""
        if not path.is_file():
            return 0
        with safe_open(path, "pt") as saved:
            metadata = saved.metadata()
            if metadata["run"] != self._run_identity():
                return 0
            next_step = int(metadata["next_step"])
            for name, value in self.model.named_parameters():
                value.data.copy_(saved.get_tensor(f"weight/{name}"))
                self.optimiser.state[value] = {
                    "step": torch.tensor(float(next_step)),
                    "exp_avg": saved.get_tensor(f"exp_avg/{name}"),
                    "exp_avg_sq": saved.get_tensor(f"exp_avg_sq/{name}"),
                }
        return next_step

    def _run_identity(self) -> str:
        digest = hashlib.sha256(repr(self.config).encode())
        digest.update(repr(self.corpus.phrases).encode())
        digest.update(self.corpus.pixels.numpy().data)
        return digest.hexdigest()


def contrastive_loss(images: Tensor, texts: Tensor, owners: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross-entropy between images and distinct captions.

    Args:
        images: Unit features `[B, D]`.
        texts: Unit features `[U, D]`, one caption for each distinct phrase of the batch.
        owners: int64 `[B]`, the caption of each image.
        scale: Factor on the cosines.

    Returns:
        Mean over both directions; from text to image the target is uniform over the caption's images.
    """
    logits = scale * images @ texts.T
    image_to_text = F.cross_entropy(logits, owners)
    targets = F.one_hot(owners, len(texts)).T.to(logits.dtype)
    text_to_image = F.cross_entropy(logits.T, targets / targets.sum(1, keepdim=True))
    return (image_to_text + text_to_image) / 2
