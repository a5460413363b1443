"""What held-out runs prove: predictions against measurements, the mixture against its rivals, and what that means."""

from mixlang.verify.agreement import agreement, headline
from mixlang.verify.improvement import Rival, improvement
from mixlang.verify.regret import regret
from mixlang.verify.verdict import verdict

VERSION = 5
"""Of verification.json; raised when what it holds changes."""

__all__ = ["VERSION", "Rival", "agreement", "headline", "improvement", "regret", "verdict"]
