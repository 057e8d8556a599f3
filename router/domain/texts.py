"""What a text must be before it is anybody's business how it is sent."""

from router.domain.errors import Invalid


def check_text(field: str, text: str, longest: int) -> None:
    """Raises `Invalid` for what is too long, and for what no phone can send. Never repeats the text."""
    if len(text) > longest:
        raise Invalid(field, f"at most {longest} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid(field, "holds half of a surrogate pair") from None
