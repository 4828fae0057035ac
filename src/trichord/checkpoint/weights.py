"""What a run owns of a model: taken out, put back, lent."""

from collections.abc import Mapping

from torch import Tensor

from trichord.losses import Objective
from trichord.models.embedder import Embedder
from trichord.types import UserError


def owned_state(model: Embedder, objective: Objective | None) -> dict[str, Tensor]:
    """What a run owns: heads, fusion, the trunks that trained, temperatures; no frozen trunk."""
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
    """Put back what `owned_state` gave; a trunk among it belongs to the run from then on.

    Raises:
        UserError: The tensors do not fit the model.
    """
    of_model = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    trunks = own_trunks(model, of_model)
    _, unexpected = model.load_state_dict(of_model, strict=False)
    # A trunk is a run's own whole: of half of one the rest would stay as pretrained, in silence.
    needed = {name for name in model.state_dict() if _always_owned(name) or name.startswith(trunks)}
    if unexpected or not needed <= of_model.keys():
        odd = sorted({*unexpected, *(needed - of_model.keys())})
        raise UserError(f"The weights do not fit the experiment's model: {odd[0]}: train again.")
    if objective is not None:
        prefix = "objective."
        objective.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        objective.clamp_scales()  # earlier versions let them grow beyond the bound


def load_matching(tensors: Mapping[str, Tensor], model: Embedder) -> str | None:
    """Give what one model owns to another that may have other parts besides, such as a fusion.

    Args:
        tensors: As `owned_state` gives them.
        model: Changed if all fits, and only then.

    Returns:
        The first name that does not fit; None: all do.
    """
    known = model.state_dict()
    lent = {
        name: value
        for key, value in tensors.items()
        if (name := key.removeprefix("model.")) != key and name in known
    }
    # What the model has no place for would be lost unsaid; a fusion or a captioner that it does
    # without may be.
    names = [k.removeprefix("model.") for k in tensors if k.startswith("model.")]
    spare = ("fusion.", "captioner.")
    odd = [name for name in names if name not in known and not name.startswith(spare)]
    odd += [name for name, value in lent.items() if value.shape != known[name].shape]
    if odd or not lent:
        return odd[0] if odd else "weights"
    own_trunks(model, lent)
    model.load_state_dict(lent, strict=False)
    return None


def own_trunks(model: Embedder, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Before weights are loaded: make the trunks among them the model's own; gives their prefixes."""
    prefixes: list[str] = []
    for name, tower in model.encoders().items():
        if any(key.startswith(f"{name}.trunk.") for key in weights):
            tower.own_trunk()
            prefixes.append(f"{name}.trunk.")
    return tuple(prefixes)


def _always_owned(name: str) -> bool:
    return ".head." in name or name.startswith(("fusion.", "captioner."))
