"""The one gate through which a transaction can leave. A dry run is built without one."""

from liqctl.chain.client import Chain
from liqctl.chain.send_answer import SENT, SendAnswer, classify_send_error
from liqctl.chain.transaction import sign
from liqctl.core.rate import Rate
from liqctl.errors import RpcError
from liqctl.ports import Clock, Signer

NS_PER_S = 1_000_000_000
SENDS_PER_SECOND_MAX = 20


class Gate:
    """Holds the only signer and the only way to send; nothing else in the keeper has either."""

    def __init__(
        self,
        chain: Chain,
        signer: Signer,
        clock: Clock,
        *,
        sends_per_second_max: int = SENDS_PER_SECOND_MAX,
    ) -> None:
        """Let at most so many sends through in any second; the others wait."""
        self.chain = chain
        self._signer = signer
        self._clock = clock
        self._rate = Rate(per_second=sends_per_second_max)

    @property
    def liquidator(self) -> str:
        """The address that pays and is rewarded."""
        return self._signer.address

    async def sign(self, message: bytes) -> tuple[bytes, str]:
        """Return wire bytes and signature of a message; nothing has left yet."""
        return await sign(message, self._signer)

    async def send(self, raw: bytes, *, first: bool, min_context_slot: int) -> SendAnswer:
        """Send recorded bytes and return what the answer means; never an error of the node."""
        while wait_ns := self._rate.wait_ns(self._clock.monotonic_ns()):
            await self._clock.sleep(wait_ns / NS_PER_S)
        self._rate = self._rate.used(self._clock.monotonic_ns())
        try:
            await self.chain.send(raw, first=first, min_context_slot=min_context_slot)
        except RpcError as error:
            return classify_send_error(error)
        return SENT
