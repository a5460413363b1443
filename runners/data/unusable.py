"""Why a file cannot be used, in words: the refusal itself, and whatever reading a damaged file raises turned into it."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator


class Unusable(ValueError):
    """Why a file cannot be used, in words that follow its name.

    Attributes:
        lasting: whether only a change of the file can help (not so where it could not be opened).
    """

    def __init__(self, why: str, *, lasting: bool = True) -> None:
        super().__init__(why)
        self.lasting = lasting


@contextlib.contextmanager
def faults() -> Iterator[None]:
    """Turn what readers raise on damaged files into `Unusable`; none of it may end a scan of many files."""
    try:
        yield
    except FileNotFoundError:
        raise Unusable("there is no such file", lasting=False) from None
    except Unusable:
        raise
    except OSError as error:
        if error.errno is not None:
            raise Unusable(f"cannot be read ({error.strerror})", lasting=False) from None
        raise _damaged(error) from None
    except (EOFError, ValueError, ArithmeticError, zlib.error) as error:
        raise _damaged(error) from None
    except MemoryError:
        raise Unusable("too large for this machine's memory", lasting=False) from None
    except Exception as error:  # readers raise many kinds on damaged files
        raise Unusable(f"unreadable ({type(error).__name__}: {str(error)[:100]})") from None


def _damaged(error: Exception) -> Unusable:
    return Unusable(f"truncated or damaged ({(str(error).splitlines() or [''])[0][:100] or type(error).__name__})")
