"""The dashboard: one page and its files, which ask the API like any other client."""

from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

FILES = StaticFiles(directory=Path(__file__).parent / "static")


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page, or 304 to whoever has it; it holds no figures, so strangers may see it."""
    return await FILES.get_response("index.html", request.scope)


@router.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """Return the sign that browsers ask for beside every page."""
    return await FILES.get_response("icon.svg", request.scope)
