"""Accounts and transactions as bytes in JSON: base58, base64, base64+zstd."""

import base64
import binascii
import struct
from dataclasses import dataclass
from enum import StrEnum

from liqctl.chain import base58
from liqctl.localnet.account import AccountState
from liqctl.localnet.rpc.errors import INVALID_REQUEST, Refusal, invalid_params
from liqctl.localnet.rpc.params import Config, as_u64, unknown_variant

_BASE58_BYTES_MAX = 128
_ZSTD_BLOCK_MAX = 128 * 1024
_PACKET_BYTES_MAX = 1232
_TRANSACTION_TEXT_MAX = 1683


class Encoding(StrEnum):
    """How bytes are written; `binary` is the old base58 form without its name."""

    BINARY = "binary"
    BASE58 = "base58"
    BASE64 = "base64"
    BASE64_ZSTD = "base64+zstd"
    JSON_PARSED = "jsonParsed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFormat:
    """Encoding and slice that a request asked for."""

    encoding: Encoding
    offset: int = 0
    length: int | None = None

    @classmethod
    def of(cls, config: Config, default: Encoding) -> "AccountFormat":
        """Return the format of a configuration object."""
        encoding = encoding_of(config.text("encoding"), default)
        cut = config.get("dataSlice")
        if cut is None:
            return cls(encoding=encoding)
        if not isinstance(cut, dict):
            raise invalid_params("Invalid params: dataSlice: expected an object.")
        return cls(
            encoding=encoding,
            offset=as_u64(cut.get("offset"), "dataSlice.offset"),
            length=as_u64(cut.get("length"), "dataSlice.length"),
        )

    def answer(self, state: AccountState) -> dict[str, object]:
        """Return the JSON object of an account.

        Raises:
            Refusal: base58 was asked for and the account is too long for it.
        """
        is_base58 = self.encoding in (Encoding.BINARY, Encoding.BASE58)
        if is_base58 and len(self._slice(state.data)) > _BASE58_BYTES_MAX:
            raise Refusal(
                INVALID_REQUEST,
                "Encoded binary (base 58) data should be less than 128 bytes, "
                "please use Base64 encoding.",
            )
        return self.render(state)

    def render(self, state: AccountState) -> dict[str, object]:
        """Return the JSON object of an account; what is too long for base58 is replaced by a text.

        Subscribers get this: a notification has no place for an error.
        """
        return {
            "data": self._content(state.data),
            "executable": state.executable,
            "lamports": state.lamports,
            "owner": str(state.owner),
            "rentEpoch": state.rent_epoch,
            "space": len(state.data),
        }

    def _slice(self, content: bytes) -> bytes:
        if self.length is None:
            return content
        return content[self.offset : self.offset + self.length]

    def _content(self, whole: bytes) -> object:
        content = self._slice(whole)
        match self.encoding:
            case Encoding.BINARY:
                return _base58(content)
            case Encoding.BASE58:
                return [_base58(content), "base58"]
            case Encoding.BASE64_ZSTD:
                return [base64.b64encode(zstd_frame(content)).decode(), "base64+zstd"]
            case Encoding.BASE64 | Encoding.JSON_PARSED:
                # A node falls back to base64 for every program that it has no parser for.
                return [base64.b64encode(content).decode(), "base64"]


def encoding_of(name: str | None, default: Encoding) -> Encoding:
    """Return the encoding with this name."""
    if name is None:
        return default
    try:
        return Encoding(name)
    except ValueError as error:
        raise unknown_variant(name, list(Encoding)) from error


def zstd_frame(content: bytes) -> bytes:
    """Return a valid Zstandard frame of uncompressed blocks, which every decoder reads."""
    frame = bytearray(b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(content)))
    starts = range(0, len(content), _ZSTD_BLOCK_MAX) or range(1)
    for start in starts:
        block = content[start : start + _ZSTD_BLOCK_MAX]
        last = start + len(block) >= len(content)
        frame += struct.pack("<I", len(block) << 3 | last)[:3] + block
    return bytes(frame)


def transaction_bytes(text: str, encoding: str | None) -> bytes:
    """Return the wire bytes of a transaction parameter, at most one packet."""
    if len(text) > _TRANSACTION_TEXT_MAX:
        raise invalid_params(
            f"{encoding or 'base58'} encoded solana_transaction::versioned::VersionedTransaction "
            f"too large: {len(text)} bytes (max: encoded/raw "
            f"{_TRANSACTION_TEXT_MAX}/{_PACKET_BYTES_MAX})"
        )
    match encoding:
        case None | "base58":
            content = _decode_base58(text)
        case "base64":
            content = decode_base64(text)
        case _:
            raise invalid_params(
                f"unsupported encoding: {encoding}. Supported encodings: base58, base64"
            )
    if len(content) > _PACKET_BYTES_MAX:
        raise invalid_params(
            "decoded solana_transaction::versioned::VersionedTransaction too large: "
            f"{len(content)} bytes (max: {_PACKET_BYTES_MAX} bytes)"
        )
    return content


def decode_base64(text: str) -> bytes:
    """Return the bytes of a base64 text."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise invalid_params(f"invalid base64 encoding: {error}") from error


def _decode_base58(text: str) -> bytes:
    try:
        return base58.decode(text)
    except ValueError as error:
        raise invalid_params(f"invalid base58 encoding: {error}") from error


def _base58(content: bytes) -> str:
    if len(content) > _BASE58_BYTES_MAX:
        return "error: data too large for bs58 encoding"
    return base58.encode(content)
