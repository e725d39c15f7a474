"""The interface of a method: settings, the parameters it needs at one site, and a formula.

The rest of the library knows nothing else about a method. A method is a frozen dataclass with:

    sites            where it goes: names of `adaptkit.models.sites`, with * for any (`attn.*`)
    spec(site)       the parameters at one site: name -> `Param`
    apply(p, x, y)   the formula: the site's new output, from its output `y`, its input `x` and
                     the parameters `p`

The formula is written once. It holds for parameters of one adapter, `(...)`, in training, and for
a batch of adapters, `(batch, ...)`, one per row of `x`, in the host. Write `x @ weight.mT` for
linear maps, `rows(vector)` for vectors that are added to or multiplied with `(batch, seq, width)`,
and `add_map` to add the result of a linear map.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit.errors import AdaptkitError, quoted, shorten, unknown
from adaptkit.methods.layer_ranges import check_layers, chosen_layers
from adaptkit.models.sites import SITE_NAMES, Site

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_COUNT, LARGEST_FACTOR = 2**31, 1e6  # of settings that are whole numbers, and of others


@dataclass(frozen=True)
class Param:
    """One parameter: its shape and its initialization.

    init: zeros, ones, identity, kaiming (uniform, a = sqrt 5), orthogonal, normal with `std`, or
        constant with `value`.
    frozen: part of the adapter, but not trained.
    """

    shape: tuple[int, ...]
    init: str = "zeros"
    std: float = 0.02
    frozen: bool = False
    value: float = 0.0

    def new(self) -> Tensor:
        """A fresh fp32 tensor of this shape."""
        import torch
        from torch.nn import init

        tensor = torch.zeros(self.shape)
        if self.init == "ones":
            init.ones_(tensor)
        elif self.init == "identity":
            init.eye_(tensor)
        elif self.init == "kaiming":
            init.kaiming_uniform_(tensor, a=math.sqrt(5))
        elif self.init == "orthogonal":
            init.orthogonal_(tensor)
        elif self.init == "normal":
            init.normal_(tensor, std=self.std)
        elif self.init == "constant":
            init.constant_(tensor, self.value)
        return tensor


def rows(vector: Tensor) -> Tensor:
    """Shape `(width,)` or `(batch, width)` vectors to broadcast with `(batch, seq, width)`."""
    return vector if vector.ndim == 1 else vector.unsqueeze(-2)


def add_map(y: Tensor, x: Tensor, weight: Tensor, alpha: float = 1.0) -> Tensor:
    """`y + alpha x @ weight.mT` in one pass over y `(..., seq, out)`.

    x is `(..., seq, in)`, weight `(out, in)` or `(batch, out, in)`. A low-rank product is cheap;
    writing the full width a second time to add it would cost as much again.
    """
    import torch

    if y.dtype != x.dtype or y.shape[:-1] != x.shape[:-1]:
        return y + x @ weight.mT * alpha
    if weight.ndim == 3:
        return torch.baddbmm(y, x, weight.mT, alpha=alpha)
    flat = torch.addmm(
        y.reshape(-1, y.shape[-1]), x.reshape(-1, x.shape[-1]), weight.mT, alpha=alpha
    )
    return flat.view(y.shape)


@dataclass(frozen=True)
class Method:
    """Base class of all methods.

    Subclasses are frozen dataclasses; their fields are the settings in the method grammar.
    """

    name: ClassVar[str] = ""
    default_sites: ClassVar[tuple[str, ...]] = ()
    # those of the default sites without which it would be another method than the published one
    needs: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = ("map",)  # the kinds of site that the formula supports
    affine: ClassVar[bool] = (
        False  # apply is affine in (x, y): the method can be merged into linear maps
    )
    # x is what leaves the site, and y too: of a map its output, of a norm what it has normed
    reads_output: ClassVar[bool] = False
    identity_at_start: ClassVar[bool] = True  # a fresh adapter changes nothing
    learning_rate: ClassVar[float] = 1e-3  # the default learning rate

    sites: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    layers: str | None = dataclasses.field(
        default=None, kw_only=True
    )  # see `adaptkit.methods.layer_ranges`; None: all of them

    def __post_init__(self):
        check_numbers(self)

    def spec(self, site: Site) -> dict[str, Param]:
        raise NotImplementedError

    def apply(self, p: dict[str, Tensor], x: Tensor, y: Any, *, training: bool = False) -> Any:
        raise NotImplementedError

    def served(self) -> Method:
        """The method that a host computes in place of this one.

        Training-only settings are removed and sizes are rounded up, so that more adapters agree in
        their settings and share a batch.
        """
        return self

    def to_served(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Parameters of `served()` at one site that change the base as `p` does."""
        return p

    def low_rank(self) -> tuple[str, str] | None:
        """The names of A and B if the formula is exactly `y + (x @ A.mT) @ B.mT`.

        The caller may then add in place, and compute `x @ A.mT` once for all maps that read the
        same x.
        """
        return None

    def factors(self, p: dict[str, Tensor], site: Site) -> tuple[Tensor, Tensor] | None:
        """A `(r, in)` and B `(out, r)` if the formula at a map is `y + (x @ A.mT) @ B.mT`.

        None if it is another formula, or if no such pair is known.
        """
        served = self.served()
        if names := served.low_rank():
            weights = self.to_served(p)
            return weights[names[0]], weights[names[1]]
        return None

    def place(self, available: list[Site]) -> list[Site]:
        """The sites of one model that this method uses.

        Raises:
            AdaptkitError: a requested site does not exist in the model, or no site is left.
        """
        usable = [site for site in available if site.kind in self.kinds]
        for pattern in self.sites:
            if any(fnmatchcase(site.name, pattern) for site in usable):
                continue
            if not any(fnmatchcase(name, pattern) for name in SITE_NAMES):
                raise unknown("site", pattern, SITE_NAMES)
            names = sorted({site.name for site in usable})
            raise AdaptkitError(
                f"{quoted(str(self))} wants site {quoted(pattern)}, which this model does "
                "not have for this method. "
                f"It has: {', '.join(names) or 'none'}."
            )
        lacking = set(self.needs) - {site.name for site in usable}
        if lacking and not self.sites:
            names = sorted({site.name for site in usable})
            raise AdaptkitError(
                f"{self} acts at {', '.join(self.needs)}, and this model has no "
                f"{', '.join(sorted(lacking))}. Choose the sites yourself "
                f"({self.name}[sites=...]: {', '.join(names) or 'none'}), or lora."
            )
        patterns = self.sites or self.default_sites
        chosen = [
            site for site in usable if any(fnmatchcase(site.name, pattern) for pattern in patterns)
        ]
        if self.layers is not None:
            check_layers(self.layers)
            chosen = [
                site for site in chosen if site.layer in chosen_layers(self.layers, site.depth)
            ]
        if not chosen:
            names = sorted({site.name for site in available})
            raise AdaptkitError(
                f"{self.name} has no site in this model: it needs one of "
                f"{shorten(', '.join(patterns), 300)}; "
                f"the model has {', '.join(names)}. Choose another method."
            )
        return chosen

    def describe(self, full: bool = False) -> str:
        """The method in the method grammar, with non-default settings or with all of them."""
        settings = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if (full and value not in (None, ())) or value != field.default:
                settings.append(f"{field.name}={write_value(value)}")
        return f"{self.name}[{','.join(sorted(settings))}]" if settings else self.name

    def __str__(self) -> str:
        return self.describe()


def write_value(value: Any) -> str:
    """One setting as the grammar writes it: `True` -> `true`, `("a", "b")` -> `a|b`."""
    if isinstance(value, (tuple, list)):
        return "|".join(write_value(item) for item in value)
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def check_numbers(method: Method) -> None:
    """Refuse settings that are numbers to no formula: NaN, infinite, or absurdly large."""
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        most = {int: LARGEST_COUNT, float: LARGEST_FACTOR}.get(type(value))
        if most is not None and not abs(value) <= most:
            given = value if isinstance(value, float) else quoted(value)
            raise AdaptkitError(
                f"{method.name}: {field.name} is a number up to {most:,.0f}; it got {given}."
            )


def require(condition: bool, method: Method, problem: str) -> None:
    """Raise an error that names `method` and what is wrong with a setting."""
    if not condition:
        raise AdaptkitError(f"{method.name}: {problem}")


def check_rank(method: Method, rank: int, widths: dict[str, int]) -> None:
    """Refuse a rank above the width that it is taken of, at any site.

    widths: by the names of the sites.
    """
    name, width = min(widths.items(), key=lambda item: item[1])
    require(
        rank <= width,
        method,
        f"r is at most the width of what it reads, and {name} of this model is {width} wide; it "
        f"got {rank}. Write {method.name}[r={width}], or choose other sites.",
    )
