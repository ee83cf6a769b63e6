"""What failures mean that are not a venue's own: those of the runtime and of the token program."""

from liqctl.core.instruction import Outcome

# By name; they come without a code.
RUNTIME_OUTCOMES = {
    "BlockhashNotFound": Outcome.RETRY,
    "AccountInUse": Outcome.RETRY,
    "ClusterMaintenance": Outcome.RETRY,
    "AccountNotFound": Outcome.SETUP,
    "InsufficientFundsForFee": Outcome.SETUP,
    "InsufficientFundsForRent": Outcome.SETUP,
}
# By code, which the payout can bring up: insufficient funds, account frozen.
TOKEN_OUTCOMES = {1: Outcome.NO_FUNDS, 17: Outcome.SETUP}
