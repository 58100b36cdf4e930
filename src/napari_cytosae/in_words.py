"""Numbers as a person would say them."""


def duration(seconds: float) -> str:
    """Write a duration as one would say it: ``8 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def rounded(number: int) -> int:
    """Leave the first two digits: what follows would pretend to be known."""
    step: int = 10 ** max(len(str(number)) - 2, 0)
    return round(number / step) * step


def megabytes(n_bytes: int) -> str:
    """Write a size in MB, or in GB where it is large."""
    if n_bytes < 1_000_000:
        return "under 1 MB"
    if n_bytes < 10_000_000_000:
        return f"{rounded(round(n_bytes / 1e6)):,} MB"
    return f"{n_bytes / 1e9:,.0f} GB"
