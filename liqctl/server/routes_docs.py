"""The API's own description, for programs and for people; nothing comes from another host."""

from functools import lru_cache

import msgspec
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from liqctl.server import apidoc

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return Response(_pages(request.app)[0], media_type="application/json")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the reference as a page."""
    return HTMLResponse(_pages(request.app)[1])


@lru_cache(maxsize=4)
def _pages(app: FastAPI) -> tuple[bytes, str]:
    """Return both, made once for each application."""
    document = app.openapi()
    return msgspec.json.encode(document), apidoc.html(document)
