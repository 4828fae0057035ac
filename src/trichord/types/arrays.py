"""Shapes of numpy arrays in annotations, where jaxtyping is not installed too.

Tests check them with it. A search needs no more than numpy, so the core is installed without it, and
there an annotation says what is an array and leaves its shape out.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int, Int8, Num, Shaped, UInt8
else:
    try:
        from jaxtyping import Bool, Float, Float32, Int, Int8, Num, Shaped, UInt8
    except ModuleNotFoundError:

        class _Array:
            def __class_getitem__(cls, asked: tuple[Any, str]) -> Any:
                return asked[0]

        Bool = Float = Float32 = Int = Int8 = Num = Shaped = UInt8 = _Array

__all__ = ["Bool", "Float", "Float32", "Int", "Int8", "Num", "Shaped", "UInt8"]
