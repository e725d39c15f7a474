"""Which adapters there are; an administrator loads and unloads them.

`/v1/models` is OpenAI's, `/v1/load_lora_adapter` and `/v1/unload_lora_adapter` are vLLM's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from adaptkit.errors import quoted
from adaptkit.host.describe import AdapterInfo
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.service import Service


class LoadRequest(BaseModel):
    """lora_path: a folder below one of the service's adapter folders, or its path from there.

    load_inplace: a name that is loaded gets the new version, instead of being refused.
    """

    model_config = ConfigDict(extra="forbid")
    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadRequest(BaseModel):
    model_config = ConfigDict(extra="ignore")  # clients of vLLM may send lora_int_id, too
    lora_name: str


def routes(service: Service, keys: Keys) -> APIRouter:
    """Reading for users, changing for the administrator."""
    router = APIRouter(tags=["adapters"])
    user, admin = [Depends(keys.user)], [Depends(keys.admin)]

    @router.get("/v1/models", dependencies=user)
    async def models() -> dict[str, Any]:
        """All adapters that can be asked, and the base."""
        found = [_model(service, one) for one in await service.adapters()]
        return {"object": "list", "data": [*found, _base(service)]}

    @router.get("/v1/models/{name}", dependencies=user)
    async def model(name: str) -> dict[str, Any]:
        """One of them."""
        found = await service.find(name)
        return _base(service) if found is None else _model(service, found)

    @router.post("/v1/load_lora_adapter", dependencies=admin)
    async def load(request: LoadRequest) -> dict[str, Any]:
        """Load an adapter, or its new version; rows in progress keep the old one."""
        if request.lora_name == service.base:
            raise RequestError(400, f"{quoted(service.base)} is the base.", "lora_name")
        folder = _allowed(service, request.lora_path)
        if not request.load_inplace and service.host.holds(request.lora_name):
            raise RequestError(
                409, f"{quoted(request.lora_name)} is loaded; load_inplace replaces it."
            )
        await service.in_thread(service.host.load, request.lora_name, folder)
        return _model(service, await service.host.find(request.lora_name))

    @router.post("/v1/unload_lora_adapter", dependencies=admin)
    async def unload(request: UnloadRequest) -> dict[str, str]:
        """Unload an adapter once its rows in progress are answered."""
        await service.find(request.lora_name, "lora_name")
        await service.in_thread(service.host.unload, request.lora_name, service.settings.deadline)
        return {"unloaded": request.lora_name}

    return router


def _allowed(service: Service, path: str) -> Path:
    """A folder that an administrator may load.

    Raises:
        RequestError: it is not below an allowed folder; what lies elsewhere is not told.
    """
    folders = [folder.resolve() for folder in service.settings.adapter_folders]
    if "\0" not in path:
        for folder in folders:
            found = (folder / path).resolve()
            if found != folder and found.is_relative_to(folder):
                return found
    raise RequestError(403, f"{quoted(path)} is in none of the allowed folders.", "lora_path")


def _model(service: Service, info: AdapterInfo) -> dict[str, Any]:
    facts = info.to_dict()
    return _shown(service, facts.pop("name"), service.base, facts)


def _base(service: Service) -> dict[str, Any]:
    inputs = ["prompt" if service.writes else "text"]
    facts: dict[str, Any] = {"task": None, "labels": [], "inputs": inputs, "method": None}
    return _shown(service, service.base, None, {**facts, "metrics": {}, "loaded": True})


def _shown(
    service: Service, name: str, parent: str | None, facts: dict[str, Any]
) -> dict[str, Any]:
    """A model as OpenAI's clients read it, and what it does."""
    return {
        "id": name,
        "object": "model",
        "created": service.created,
        "owned_by": "adaptkit",
        "root": service.base,
        "parent": parent,
        "base": service.base,
        **facts,
    }
