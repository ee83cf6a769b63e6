"""One attempt in the air, as the keeper follows it."""

import asyncio
from dataclasses import dataclass, field, replace

from liqctl.chain.answers import Landed, Status
from liqctl.chain.expiry import Proof
from liqctl.core.events import OutcomeSeen
from liqctl.core.instruction import Failure
from liqctl.core.intent import Attempt, Claim, IntentRequest
from liqctl.core.sending import Sending
from liqctl.errors import present


@dataclass(slots=True, kw_only=True)
class Live:
    """An attempt in the air: its state, and what the effects have brought since the last look."""

    state: Sending
    request: IntentRequest
    latency_us: int | None = None
    tick_ns: int = 0
    seen_ns: int = 0
    renewed_ms: int = 0
    launching: bool = False
    status: Status | None = None
    landed: Landed | None = None
    proof: Proof | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    at_loss: bool = False
    outcome: OutcomeSeen | None = None

    @property
    def attempt(self) -> Attempt:
        """The attempt as the store has it."""
        return present(self.state.attempt, "a live attempt without one")

    @property
    def claim(self) -> Claim:
        """The claim under which it was recorded or taken up."""
        return present(self.state.claim, "a live attempt without a claim")

    def failure_on_chain(self, status: Status) -> Failure:
        """Return the failure that a status tells, with the logs that the ledger told."""
        failure = present(status.failure, "a failure that is none")
        return replace(failure, logs=self.landed.logs if self.landed is not None else ())
