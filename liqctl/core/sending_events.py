"""What happens to one liquidation (events) and what it asks to be done (effects); see `sending`."""

from dataclasses import dataclass

from liqctl.core.events import Cause, Result
from liqctl.core.guards import Spending
from liqctl.core.health import Assessment
from liqctl.core.instruction import Outcome
from liqctl.core.intent import Attempt, AttemptState, Claim, IntentState


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a liquidation ended; `slot` is where that is a fact of the chain, 0 elsewhere."""

    result: Result
    cause: Cause
    reason: str
    slot: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The store answered: the intent is ours, or somebody else's (None)."""

    claim: Claim | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAfresh:
    """Position and all it depends on, as one slot has them.

    `generation` and `verdict` are None when the address holds no position; then `gone` says
    whether it holds nothing at all.
    """

    slot: int
    gone: bool = False
    generation: int | None = None
    verdict: Assessment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The very transaction was simulated; `outcome` is None when it would succeed."""

    slot: int
    outcome: Outcome | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The program's own view of the verdict answered; `liquidatable` is None when it told none."""

    slot: int
    liquidatable: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What the transaction can cost, what is spent already, and why nothing may be signed now."""

    cost_lamports: int
    spending: Spending
    hold: str | None = None
    unprofitable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The signed attempt is committed; None when the claim is not ours any more.

    `hold` is what stopped it while the signer took its time: nothing is committed then either.
    """

    attempt: Attempt | None
    hold: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A node answered a send; the bytes may have left whatever it said.

    `hopeless`: sending them again is of no use. `preflight` is what the venue says of a failure.
    """

    now_ms: int
    hopeless: bool = False
    preflight: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """The store holds this live state of the attempt now; SEEN in no slot, if it could be written."""

    state: AttemptState
    slot: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One look at the cluster: `level` is the commitment of the status, None without one."""

    level: str | None
    slot: int
    finalized_height: int
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRead:
    """The ledger was asked for a finalized transaction; `outcome` is None when it succeeded."""

    told: bool
    outcome: Outcome | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """The expiry proof holds as of a finalized slot."""

    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of the attempt is committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost:
    """Somebody else owns the intent, and with it the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTaken:
    """The lease had run out and is ours again; the attempt is as others may have left it."""

    claim: Claim
    attempt: Attempt


Event = (
    Claimed
    | ReadAfresh
    | Tried
    | Heard
    | Weighed
    | Recorded
    | Answered
    | Noted
    | Looked
    | LedgerRead
    | Proven
    | Ended
    | LeaseLost
    | LeaseTaken
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeClaim:
    """Claim the intent under a lease; answered by Claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFresh:
    """Read the position and what it depends on, at this slot or later; answered by ReadAfresh."""

    min_context_slot: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulate:
    """Simulate the very message that would be signed; answered by Tried."""

    min_context_slot: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask the program's own view of the verdict, at this slot or later; answered by Heard."""

    min_context_slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weigh:
    """Count cost and spending in the store; until SIGNING is over no other may; gives Weighed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignAndRecord:
    """Sign in memory and commit; answered by Recorded."""

    cost_lamports: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Put the recorded bytes on the wire; answered by Answered."""

    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSent:
    """Count a send in the store, whatever has been seen meanwhile; SIGNED becomes SENT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSeen:
    """Write that a node reported it below finalized; answered by Noted."""

    slot: int
    level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteUnseen:
    """Write that it is not reported any more; answered by Noted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLedger:
    """Ask for the finalized transaction; answered by LedgerRead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProveExpiry:
    """Look for the expiry proof; answered by Proven, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Commit the end of the attempt with all that follows; answered by Ended.

    `intent` None leaves the intent open, without a lease, for another attempt.
    """

    state: AttemptState
    intent: IntentState | None
    stop: Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class EndIntent:
    """End an intent that has no live attempt."""

    state: IntentState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Give the lease back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Tell how it ended; nothing follows."""

    stop: Stop


Effect = (
    TakeClaim
    | ReadFresh
    | Simulate
    | Ask
    | Weigh
    | SignAndRecord
    | Send
    | NoteSent
    | NoteSeen
    | NoteUnseen
    | ReadLedger
    | ProveExpiry
    | End
    | EndIntent
    | Release
    | Report
)
