"""The errors of a Solana node, with its codes, texts and `data` members."""

from collections.abc import Mapping

from liqctl.errors import LiqctlError

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
PREFLIGHT_FAILURE = -32002
SIGNATURE_FAILURE = -32003
BLOCK_NOT_AVAILABLE = -32004
NODE_UNHEALTHY = -32005
SLOT_SKIPPED = -32007
HISTORY_NOT_AVAILABLE = -32011
UNSUPPORTED_TRANSACTION_VERSION = -32015
MIN_CONTEXT_SLOT_NOT_REACHED = -32016


class Refusal(LiqctlError):
    """The request is answered with an error object."""

    def __init__(self, code: int, message: str, detail: Mapping[str, object] | None = None) -> None:
        """Keep what the error object says."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    def to_json(self) -> dict[str, object]:
        """Return the `error` member."""
        body: dict[str, object] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            body["data"] = self.detail
        return body


def invalid_params(message: str) -> Refusal:
    """Return the error for parameters that cannot be used."""
    return Refusal(INVALID_PARAMS, message)
