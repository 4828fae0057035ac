"""Shapes of numpy arrays in annotations, also without jaxtyping.

Tests check shapes with jaxtyping. The core is installed without it, because a search needs only numpy;
then annotations name the array without its shape.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int, Int8, Num, Shaped, UInt8
else:
    try:
        from jaxtyping import Bool, Float, Float32, Int, Int8, Num, Shaped, UInt8
    except ModuleNotFoundError:

        class _Array:
            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                return item[0]

        Bool = Float = Float32 = Int = Int8 = Num = Shaped = UInt8 = _Array

__all__ = ["Bool", "Float", "Float32", "Int", "Int8", "Num", "Shaped", "UInt8"]
