"""What a host holds, and what it has done so far."""

from __future__ import annotations

from typing import Any

from adaptkit.host.backbone import Backbone
from adaptkit.host.engine import Engine
from adaptkit.host.slots import LoadedAdapter, Slots


def host_stats(backbone: Backbone, slots: Slots, engine: Engine, waiting: int) -> dict[str, Any]:
    """Slots, bytes, batches and adapters of a host. waiting: rows in its queue."""
    loaded_adapters = slots.listed()
    heads = [one.adapter.head.bytes for one in loaded_adapters if one.adapter.head is not None]
    return {
        "base": backbone.name,
        "captured": backbone.not_captured is None,
        "not_captured": backbone.not_captured,
        "int8": backbone.int8,
        "slots": slots.count,
        "used": len(loaded_adapters),
        "slot_bytes": slots.bytes // len(slots.rows),
        "bytes": {
            "base": backbone.bytes,
            "slots": slots.bytes,
            "heads": sum(heads),
            "buffers": engine.buffers.bytes,
        },
        "batches": engine.batches,
        "rows": engine.rows,
        "waiting": waiting,
        "loads": slots.loads,
        "evictions": slots.evictions,
        "adapters": {one.name: _facts(one) for one in loaded_adapters},
    }


def _facts(loaded: LoadedAdapter) -> dict[str, Any]:
    return {
        "task": loaded.adapter.task.name if loaded.adapter.task else None,
        "method": loaded.method,
        "version": loaded.version,
        "rows": loaded.rows,
        "users": loaded.ref_count,
    }
