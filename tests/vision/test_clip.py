"""The adapter gives CLIP's own numbers, and refuses what is not a whole CLIP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTokenizer, PreTrainedTokenizerFast

from letter_clip import SIDE, letter_tokenizer, save_clip, tiny_model
from mergeward.errors import CheckpointError, MergewardError, UnsupportedError
from mergeward.vision import Clip, load_clip, text
from mergeward.vision.preprocess import CLIP_MEAN, CLIP_STD

CLASSES = ("cat", "a long one", "zebra")
TEMPLATE = "a photo of a {}."


def pixels(count: int = 5) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def normalised(images: Tensor) -> Tensor:
    return (images - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]


@torch.no_grad()
def reference_logits(folder: Path, tokenizer: Any, sentences: list[str]) -> Tensor:
    """The logits of `transformers.CLIPModel` itself, one sentence at a time so that nothing is padded."""
    model = CLIPModel.from_pretrained(folder).eval()
    columns = []
    for sentence in sentences:
        tokens = tokenizer(sentence, return_tensors="pt")["input_ids"]
        columns.append(model(input_ids=tokens, pixel_values=normalised(pixels())).logits_per_image)
    return torch.cat(columns, dim=1)


@torch.no_grad()
def own_logits(clip: Clip) -> Tensor:
    return clip.encoder(pixels()) @ clip.head(CLASSES, (TEMPLATE,)).T


def extra_pad() -> tuple[CLIPTokenizer, CLIPModel]:
    """A tokenizer whose padding is a token of its own, higher than the end of a sentence."""
    tokenizer = letter_tokenizer(pad_token="<|pad|>")
    return tokenizer, tiny_model(tokenizer)


def end_as_pad() -> tuple[CLIPTokenizer, CLIPModel]:
    """As OpenAI's: padded with the end of a sentence."""
    tokenizer = letter_tokenizer()
    return tokenizer, tiny_model(tokenizer)


def legacy_end() -> tuple[CLIPTokenizer, CLIPModel]:
    """The configuration says 2, as older ones do; the real end is the highest token."""
    tokenizer = letter_tokenizer()
    return tokenizer, tiny_model(tokenizer, eos_token_id=2)


def fast_tokenizer() -> tuple[PreTrainedTokenizerFast, CLIPModel]:
    """A folder that names no CLIP tokenizer but only holds `tokenizer.json`."""
    own = letter_tokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=own.backend_tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    return tokenizer, tiny_model(own)


@pytest.mark.parametrize("make", [end_as_pad, extra_pad, legacy_end, fast_tokenizer])
def test_logits_are_those_of_clip(make: Callable[[], Any], tmp_path: Path) -> None:
    tokenizer, model = make()
    folder = save_clip(tmp_path / "clip", model, tokenizer)
    expected = reference_logits(folder, tokenizer, [TEMPLATE.format(name) for name in CLASSES])
    assert expected.std(dim=0).min() > 1e-2
    assert expected.std(dim=1).min() > 1e-2
    torch.testing.assert_close(own_logits(load_clip(folder)), expected, rtol=0, atol=1e-5)


def test_a_model_saved_in_half_precision_is_run_in_single(tmp_path: Path) -> None:
    tokenizer = letter_tokenizer()
    folder = save_clip(tmp_path / "clip", tiny_model(tokenizer).half(), tokenizer)
    clip = load_clip(folder)
    assert {value.dtype for value in clip.model.parameters()} == {torch.float32}
    single = save_clip(tmp_path / "single", CLIPModel.from_pretrained(folder).float(), tokenizer)
    expected = reference_logits(single, tokenizer, [TEMPLATE.format(name) for name in CLASSES])
    torch.testing.assert_close(own_logits(clip), expected, rtol=0, atol=1e-5)


def test_the_encoder_gives_unit_features_of_its_embedding(tiny_clip: Path) -> None:
    encoder = load_clip(tiny_clip).encoder
    features = encoder(pixels())
    torch.testing.assert_close(features.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(features, F.normalize(encoder.embed(pixels()), dim=-1))
    reference = CLIPModel.from_pretrained(tiny_clip).eval()
    with torch.no_grad():
        expected = reference.get_image_features(normalised(pixels())).pooler_output
    torch.testing.assert_close(encoder.embed(pixels()), expected, rtol=0, atol=1e-5)


def test_a_head_is_the_mean_over_the_templates(tiny_clip: Path) -> None:
    clip = load_clip(tiny_clip)
    templates = (TEMPLATE, "{}", "the {} again.")
    scale = clip.model.logit_scale.exp()
    single = torch.stack([clip.head(CLASSES, (template,)) / scale for template in templates])
    expected = F.normalize(single.mean(dim=0), dim=-1) * scale
    torch.testing.assert_close(clip.head(CLASSES, templates), expected, rtol=0, atol=1e-6)


def test_a_head_does_not_depend_on_how_sentences_are_batched(
    tiny_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = load_clip(tiny_clip)
    whole = clip.head(CLASSES, (TEMPLATE, "{}"))
    monkeypatch.setattr(text, "BATCH_SIZE", 1)
    torch.testing.assert_close(clip.head(CLASSES, (TEMPLATE, "{}")), whole, rtol=0, atol=1e-6)


def test_a_name_longer_than_the_context_is_cut_off(tiny_clip: Path) -> None:
    clip = load_clip(tiny_clip)
    head = clip.head(("a" * 500, "a" * 400, "b"), ("{}",))
    torch.testing.assert_close(head[0], head[1])
    assert not torch.allclose(head[0], head[2])


def test_the_encoders_names_are_the_checkpoints(tiny_clip: Path) -> None:
    stored = load_file(tiny_clip / "model.safetensors")
    state = load_clip(tiny_clip).encoder.state_dict()
    assert set(state) == {name for name in stored if name.startswith(("vision_model.", "visual_projection."))}
    assert all(torch.equal(value, stored[name]) for name, value in state.items())


def test_nothing_is_trainable_and_no_random_number_is_drawn(tiny_clip: Path) -> None:
    before = torch.random.get_rng_state()
    clip = load_clip(tiny_clip)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(value.requires_grad for value in clip.model.parameters())
    assert not clip.model.training


def test_an_encoder_with_other_weights_is_a_copy(tiny_clip: Path) -> None:
    clip = load_clip(tiny_clip)
    before = clip.encoder(pixels())
    state = {name: value + 0.1 for name, value in clip.encoder.state_dict().items()}
    other = clip.encoder_with(state)
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    assert torch.equal(clip.encoder(pixels()), before)
    assert not torch.equal(other(pixels()), before)


def test_weights_that_do_not_fit_the_encoder_are_refused(tiny_clip: Path) -> None:
    clip = load_clip(tiny_clip)
    state = dict(clip.encoder.state_dict())
    missing = {name: value for name, value in state.items() if name != "visual_projection.weight"}
    reshaped = {**state, "visual_projection.weight": torch.zeros(3, 3)}
    for bad in (missing, reshaped, {**state, "other": torch.zeros(1)}):
        with pytest.raises(CheckpointError, match="weights do not fit the encoder") as caught:
            clip.encoder_with(bad)
        assert "\n" not in str(caught.value)


def _config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def _vision(**settings: Any) -> Callable[[Path], None]:
    return _config(lambda config: config["vision_config"].update(settings))


def _weights(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return edit


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def _outside(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return edit


PROJECTION = "visual_projection.weight"

BAD: dict[str, tuple[Callable[[Path], None], type[MergewardError], str]] = {
    "no weights": (_remove("model.safetensors"), CheckpointError, "no model.safetensors"),
    "no configuration": (_remove("config.json"), CheckpointError, "no config.json"),
    "another architecture": (
        _config(lambda config: config.update(model_type="vit")),
        UnsupportedError,
        "expected a CLIP model .model_type 'clip'., found 'vit'",
    ),
    "no architecture": (_write("config.json", "{}"), UnsupportedError, "found None"),
    "gray images": (_vision(num_channels=1), UnsupportedError, "images of 3 channels"),
    "a width in words": (_vision(hidden_size="wide"), CheckpointError, "config.json makes no CLIP model"),
    "a width of no heads": (_vision(hidden_size=17), CheckpointError, "config.json makes no CLIP model"),
    "patches of nothing": (_vision(patch_size=0), CheckpointError, "config.json makes no CLIP model"),
    "an unknown activation": (_vision(hidden_act="no"), CheckpointError, "config.json makes no CLIP model"),
    "no tower": (
        _config(lambda config: config.update(vision_config=3)),
        CheckpointError,
        "config.json makes no CLIP model",
    ),
    "a negative width": (
        _config(lambda config: config.update(projection_dim=-1)),
        CheckpointError,
        "config.json makes no CLIP model",
    ),
    "endless layers": (
        _vision(num_hidden_layers=10**9),
        CheckpointError,
        "vision_config asks for 1000000000 layers",
    ),
    "more memory than there is": (
        _vision(intermediate_size=10**12),
        CheckpointError,
        r"has shape .24.*, config.json asks for .1000000000000",
    ),
    "a larger image": (_vision(image_size=32), CheckpointError, "position_embedding.weight' has shape"),
    "a missing tensor": (
        _weights(lambda state: state.pop(PROJECTION)),
        CheckpointError,
        "1 tensors missing, first 'visual_projection.weight'",
    ),
    "a tensor of another shape": (
        _weights(lambda state: state.update({PROJECTION: torch.zeros(12, 15)})),
        CheckpointError,
        r"'visual_projection.weight' has shape \(12, 15\), config.json asks for \(12, 16\)",
    ),
    "a tensor of whole numbers": (
        _weights(lambda state: state.update({PROJECTION: torch.zeros(12, 16, dtype=torch.int8)})),
        CheckpointError,
        "'visual_projection.weight' is torch.int8, expected a floating type",
    ),
    "a tensor with NaN": (
        _weights(lambda state: state[PROJECTION].fill_(torch.nan)),
        CheckpointError,
        "'visual_projection.weight' holds NaN",
    ),
    "no preprocessor": (
        _remove("preprocessor_config.json"),
        CheckpointError,
        "preprocessor_config.json: no such file",
    ),
    "a preprocessor of another size": (
        _write("preprocessor_config.json", '{"size": 32, "crop_size": 32}'),
        CheckpointError,
        "its preprocessor makes images of 32x32, its model takes 16x16",
    ),
    "a preprocessor that is a link outwards": (
        _outside("preprocessor_config.json"),
        CheckpointError,
        "preprocessor_config.json: a link out of its folder",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_a_whole_clip_is_refused(case: str, own_clip: Path) -> None:
    change, kind, message = BAD[case]
    change(own_clip)
    with pytest.raises(kind, match=message) as caught:
        load_clip(own_clip)
    assert str(caught.value).startswith(str(own_clip))
    assert "\n" not in str(caught.value)


BAD_TOKENIZERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (_remove("tokenizer.json"), "no tokenizer.json, and no vocab.json with merges.txt"),
    "no JSON": (_write("tokenizer.json", "{"), "its tokenizer cannot be loaded"),
    "another's": (_write("tokenizer.json", '{"version": "1.0"}'), "its tokenizer cannot be loaded"),
    "a link outwards": (_outside("tokenizer.json"), "tokenizer.json: a link out of its folder"),
}


@pytest.mark.parametrize("case", BAD_TOKENIZERS)
def test_a_bad_tokenizer_is_refused_when_a_head_is_made(case: str, own_clip: Path) -> None:
    change, message = BAD_TOKENIZERS[case]
    change(own_clip)
    clip = load_clip(own_clip)
    with pytest.raises(CheckpointError, match=message) as caught:
        clip.head(CLASSES, ("{}",))
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_more_tokens_than_the_model_knows_is_refused(own_clip: Path) -> None:
    letter_tokenizer(bos_token="<|pad|>", eos_token="<|pad2|>", pad_token="<|pad2|>").save_pretrained(
        own_clip
    )
    with pytest.raises(CheckpointError, match="the tokenizer emits token 58, the model knows 56"):
        load_clip(own_clip).head(CLASSES, ("{}",))


def test_a_tokenizer_that_ends_sentences_otherwise_is_refused(own_clip: Path) -> None:
    _config(lambda config: config["text_config"].update(eos_token_id=7))(own_clip)
    with pytest.raises(CheckpointError, match="does not end sentences with token 7"):
        load_clip(own_clip).head(("b", "c"), ("{}",))


HARMLESS: dict[str, dict[str, Any]] = {
    "code from a repository": {"attn_implementation": "someone/kernels", "auto_map": {"AutoModel": "a.b"}},
    "outputs as tuples": {"return_dict": False, "output_hidden_states": True},
    "another type": {"dtype": "float16", "torch_dtype": "bfloat16"},
    "quantisation": {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
}


@pytest.mark.parametrize("case", HARMLESS)
def test_settings_that_are_not_of_the_architecture_change_nothing(
    case: str, own_clip: Path, tiny_clip: Path
) -> None:
    def add(config: dict[str, Any]) -> None:
        for part in (config, config["text_config"], config["vision_config"]):
            part.update(HARMLESS[case])

    _config(add)(own_clip)
    assert torch.equal(own_logits(load_clip(own_clip)), own_logits(load_clip(tiny_clip)))


def test_tensors_that_older_files_hold_besides_are_ignored(own_clip: Path, tiny_clip: Path) -> None:
    ids = torch.arange(20)[None].flip(1).contiguous()
    _weights(lambda state: state.update({"text_model.embeddings.position_ids": ids}))(own_clip)
    assert torch.equal(own_logits(load_clip(own_clip)), own_logits(load_clip(tiny_clip)))


def test_a_single_weights_file_is_refused(tiny_clip: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no config\.json; expected a CLIP model in Hugging Face layout"
    ):
        load_clip(tiny_clip / "model.safetensors")
