"""The one gate through which a transaction can leave. A dry run is built without one."""

from dataclasses import dataclass

from liqctl.chain.client import Chain
from liqctl.chain.send_answer import SENT, SendAnswer, classify_send_error
from liqctl.chain.transaction import sign
from liqctl.errors import RpcError
from liqctl.ports import Signer


@dataclass(frozen=True, slots=True)
class Gate:
    """Holds the only signer and the only way to send; nothing else in the keeper has either."""

    chain: Chain
    signer: Signer

    @property
    def liquidator(self) -> str:
        """The address that pays and is rewarded."""
        return self.signer.address

    async def sign(self, message: bytes) -> tuple[bytes, str]:
        """Return wire bytes and signature of a message; nothing has left yet."""
        return await sign(message, self.signer)

    async def send(self, raw: bytes, *, first: bool, min_context_slot: int) -> SendAnswer:
        """Send recorded bytes and return what the answer means; never an error of the node."""
        try:
            await self.chain.send(raw, first=first, min_context_slot=min_context_slot)
        except RpcError as error:
            return classify_send_error(error)
        return SENT
