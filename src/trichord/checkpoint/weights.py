"""The weights of a model that a run owns: saving, restoring, loading into other models."""

from collections.abc import Mapping

from torch import Tensor

from trichord.losses.objective import Objective
from trichord.models.embedder import Embedder
from trichord.types import UserError


def owned_state(model: Embedder, objective: Objective | None) -> dict[str, Tensor]:
    """Weights of a run: heads, fusion, trained trunks, temperatures; no frozen trunk."""
    changed = {f"{name}.trunk." for name, one in model.encoders().items() if one.trunk_changed}
    owned = {
        f"model.{name}": value.detach().cpu().clone()  # a copy: training goes on
        for name, value in model.state_dict().items()
        if _always_owned(name) or any(name.startswith(trunk) for trunk in changed)
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
    _, unexpected = model.load_state_dict(of_model, strict=False)
    # A trunk must be complete, or the rest would silently stay as pretrained.
    needed = {name for name in model.state_dict() if _always_owned(name) or name.startswith(trunks)}
    if unexpected or not needed <= of_model.keys():
        odd = sorted({*unexpected, *(needed - of_model.keys())})
        raise UserError(f"The weights do not fit the experiment's model: {odd[0]}: train again.")
    if objective is not None:
        objective.load_state_dict(under(tensors, "objective."))
        objective.clamp_scales()  # earlier versions did not bound them


def load_matching(tensors: Mapping[str, Tensor], model: Embedder) -> str | None:
    """Load the weights of one model into another that may have other parts, such as a fusion.

    Args:
        tensors: From `owned_state`.
        model: Changed only if all fit.

    Returns:
        The first name that does not fit; None if all fit.
    """
    known, of_model = model.state_dict(), under(tensors, "model.")
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
    return None


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def own_trunks(model: Embedder, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Before loading, make the trunks among the weights the model's own; return their prefixes."""
    prefixes: list[str] = []
    for name, tower in model.encoders().items():
        if any(key.startswith(f"{name}.trunk.") for key in weights):
            tower.own_trunk()
            prefixes.append(f"{name}.trunk.")
    return tuple(prefixes)


def _always_owned(name: str) -> bool:
    # `text.head.weight` is a head; `text.trunk.model.head.weight` is part of SigLIP's trunk.
    return name.partition(".")[2].startswith("head.") or name.startswith(("fusion.", "captioner."))
