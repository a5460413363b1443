"""Finding a domain's files, one module a kind of source. What the files hold is judged later (runners.data.scan)."""

from runners.data.sources.candidates import Candidate
from runners.data.sources.find import find_candidates

__all__ = ["Candidate", "find_candidates"]
