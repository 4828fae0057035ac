"""The weights of a model that a run owns: saving, restoring, loading into other models."""

from collections.abc import Mapping

from torch import Tensor

from trichord.config.training import Lora
from trichord.encoders.adapters import is_adapter, merge
from trichord.losses.objective import Objective
from trichord.models.embedder import Embedder
from trichord.types import Modality, UserError


def owned_state(model: Embedder, objective: Objective | None) -> dict[str, Tensor]:
    """Weights of a run: heads, fusion, trained trunks or their adapters, temperatures; no frozen trunk."""
    encoders = model.encoders().items()
    changed = tuple(f"{name}.trunk." for name, one in encoders if one.trunk_changed)
    owned = {
        f"model.{_plain(name)}": value.detach().cpu().clone()  # a copy: training goes on
        for name, value in model.state_dict().items()
        if _always_owned(name) or name.startswith(changed)
    }
    scales = {} if objective is None else objective.state_dict()
    return owned | {
        f"objective.{name}": value.detach().cpu().clone() for name, value in scales.items()
    }


def load_owned(model: Embedder, objective: Objective | None, tensors: Mapping[str, Tensor]) -> None:
    """Restore weights of `owned_state`; a trunk among them belongs to the run from then on.

    Raises:
        UserError: The tensors do not fit the model.
    """
    of_model = under(tensors, "model.")
    trunks = own_trunks(model, of_model)
    names = {_plain(name): name for name in model.state_dict()}
    # A trunk must be complete, or the rest would silently stay as pretrained.
    needed = {name for name in names if _always_owned(name) or name.startswith(trunks)}
    if odd := sorted({*(of_model.keys() - names.keys()), *(needed - of_model.keys())}):
        raise _misfit(odd[0])
    model.load_state_dict({names[name]: value for name, value in of_model.items()}, strict=False)
    if objective is not None:
        objective.load_state_dict(under(tensors, "objective."))
        objective.clamp_scales()  # earlier versions did not bound them


def load_trained(
    model: Embedder, tensors: Mapping[str, Tensor], adapters: Mapping[Modality, Lora]
) -> None:
    """As `load_owned` for a model that will not be trained on: adapters are merged into its trunks.

    Args:
        model: Without adapters.
        tensors: From `owned_state`.
        adapters: Of the experiment.

    Raises:
        UserError: The tensors do not fit the model.
    """
    load_owned(model, None, {k: value for k, value in tensors.items() if not is_adapter(k)})
    if odd := _merge(model, tensors, adapters):
        raise _misfit(odd)


def _merge(
    model: Embedder, tensors: Mapping[str, Tensor], adapters: Mapping[Modality, Lora]
) -> str | None:
    """Merge the adapters among weights; returns the first name that does not fit."""
    odd: str | None = None
    for name, lora in adapters.items():
        trunk = under(tensors, f"model.{name}.trunk.")
        if own := {key: value for key, value in trunk.items() if is_adapter(key)}:
            encoder = model.encoders()[name]
            encoder.own_trunk()
            odd = odd or merge(encoder.trunk, own, lora)
    return odd


def _plain(name: str) -> str:
    """The name of a weight as it is without adapters."""
    return name.replace(".base_layer.", ".")


def _misfit(name: str) -> UserError:
    return UserError(f"The weights do not fit the experiment's model: {name}: train again.")


def load_matching(
    tensors: Mapping[str, Tensor], model: Embedder, adapters: Mapping[Modality, Lora]
) -> str | None:
    """Load the weights of one model into another that may have other parts, such as a fusion.

    Args:
        tensors: From `owned_state`.
        model: Without adapters; those of the other model are merged into its trunks.
        adapters: Of the other model's experiment.

    Returns:
        The first name that does not fit; None if all fit.
    """
    known = model.state_dict()
    of_model = {k: v for k, v in under(tensors, "model.").items() if not is_adapter(k)}
    lent = {name: value for name, value in of_model.items() if name in known}
    # Weights that the model lacks would be lost silently; only those of a fusion or a
    # captioner may be.
    spare = ("fusion.", "captioner.")
    odd = [name for name in of_model if name not in known and not name.startswith(spare)]
    odd += [name for name, value in lent.items() if value.shape != known[name].shape]
    if odd or not lent:
        return odd[0] if odd else "weights"
    own_trunks(model, lent)
    model.load_state_dict(lent, strict=False)
    return _merge(model, tensors, adapters)


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def own_trunks(model: Embedder, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Before loading, make the trunks among the weights the model's own; return their prefixes."""
    prefixes: list[str] = []
    for name, tower in model.encoders().items():
        prefix = f"{name}.trunk."
        if any(key.startswith(prefix) and not is_adapter(key) for key in weights):
            tower.own_trunk()
            prefixes.append(prefix)
    return tuple(prefixes)


def _always_owned(name: str) -> bool:
    # `text.head.weight` is a head; `text.trunk.model.head.weight` is part of SigLIP's trunk.
    head = name.partition(".")[2].startswith("head.")
    return head or is_adapter(name) or name.startswith(("fusion.", "captioner."))
