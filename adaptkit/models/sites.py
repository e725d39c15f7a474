"""Sites, the places where a model can be adapted: one table of names per architecture, as data.

A *site* is a place in the base where a method can be injected. Its name does not depend on the
base:

    attn.q attn.k attn.v attn.out   the linear maps of self-attention
    attn.qkv                        one map for q, k and v whose parts are not known
    cross.q ... cross.out           the linear maps of cross-attention
    ffn.in ffn.gate ffn.out         the linear maps of the feed-forward block
    ffn.gate_in                     one map for gate and input whose parts are not known
    attn, cross                     the attention itself: its input, and its keys and values
    ffn                             the feed-forward block: the residual stream as it enters, and
                                    what the block adds
    layer                           the residual stream as it leaves the block, and its norm in
                                    post-norm models

Paths are relative to one layer. Parts such as `"attn.c_attn:q/qkv"` mean that one module carries
several sites: here the rows `q` of a projection that packs q, k and v. The head counts give the
widths of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_MAPS = ("q", "k", "v", "out")

LINEAR_SITES = (
    *(f"attn.{m}" for m in (*_MAPS, "qkv")),
    *(f"cross.{m}" for m in (*_MAPS, "qkv")),
    "ffn.in",
    "ffn.gate",
    "ffn.gate_in",
    "ffn.out",
)

SITE_NAMES = (*LINEAR_SITES, "attn", "cross", "ffn", "layer")


@dataclass(frozen=True)
class Stack:
    """One stack of layers.

    `layers`: path of the layers below the backbone, `*` for the index.
    `maps`: linear site -> path below a layer. A layer without the module has no such site.
    `attn`, `cross`: the attention modules (they must call transformers' attention interface; leave
        empty if they do not).
    `ffn`: (module whose input is the residual stream entering the block, module whose output the
        block adds to it).
    `norm`: the norm after the residual add, for post-norm models only.
    `missing`: why there are no sites of a kind (`attn`, `ffn`), for messages.
    """

    layers: str
    maps: dict[str, str] = field(default_factory=dict)
    attn: str = ""
    cross: str = ""
    ffn: tuple[str, str] | None = None
    norm: str = ""
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """One site of one model. `kind` defines what the formula reads (`adaptkit.adapters.layer`)."""

    name: str
    module: str  # full path of the wrapped module
    layer: int
    depth: int  # depth of its stack
    # "map" | "block" | "stream" | "norm" | "attention": what the formula reads and changes here
    kind: str
    width_in: int
    width_out: int
    part: tuple[int, int] | None = (
        None  # the columns of the output that belong to this site, when the module is shared
    )
    # "block", "stream": path of the module that the residual stream enters; "attention": path of
    # the attention
    entry: str = ""
    heads: int = 0  # "attention": key-value heads

    @property
    def key(self) -> str:
        """The name without dots, for use inside parameter names."""
        return self.name.replace(".", "_")
