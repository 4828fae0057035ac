"""What a place is that was given for a model, and what would fit."""

from pathlib import Path

FORMATS = {
    "experiment.json": "a run: give it as --model or --start, or name the weights that it started from",
    "adapter_config.json": "adapters of peft alone: merge them into their model (merge_and_unload), save "
    "that, and give its folder",
    "model_index.json": "a pipeline of diffusers, which makes pictures: give a model that compares them "
    "with texts, such as CLIP",
    "open_clip_config.json": "a model of open_clip: give the same model in the format of transformers",
    "model_meta.json": "results of MTEB: give the model itself",
    "*.gguf": "weights of llama.cpp (GGUF): give the model in the format of transformers",
    "*.onnx": "ONNX graphs that 'trichord export' did not write: give the model in the format of "
    "transformers",
    "saved_model.pb": "a model of TensorFlow: give it in the format of transformers",
    "*.h5": "weights of TensorFlow: give the model in the format of transformers",
    "*.msgpack": "weights of Flax: give the model in the format of transformers",
    "*.safetensors": "weights without their config.json: give the whole model",
    "*.pt": "a checkpoint: 'trichord import' reads those of CLIP and CLIP4VLA",
    "*.pth": "a checkpoint: 'trichord import' reads those of CLIP and CLIP4VLA",
    "*.bin": "weights without their config.json: give the whole model",
}
"""Files of other formats, the more telling ones first, and what a folder with one is."""


def format_of(folder: Path) -> str:
    """The other format that a folder has, with the remedy; empty if none is known."""
    return next((what for files, what in FORMATS.items() if any(folder.glob(files))), "")


def describe(place: Path) -> str:
    """What a folder or file is, with the remedy; empty if it does not exist or cannot be read."""
    try:
        if place.is_file():
            return "a file: give the folder that it lies in"
        if not place.is_dir():
            return ""
        if known := format_of(place):
            return known
        empty = not any(place.iterdir())
    except (OSError, ValueError):  # a name that is too long, or no path
        return ""
    return f"{'an empty folder' if empty else 'a folder without a model'}: check the path"
