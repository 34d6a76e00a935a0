"""A request that we refuse: what happened, which field, what to do."""


class Refusal(Exception):
    """The caller's request cannot be carried out, and says why.

    :param code: snake_case word, stable, listed in docs/reference/errors.md.
    :param detail: one or two sentences for a person, with the remedy.
    :param status: HTTP status that fits (RFC 9110).
    :param field: JSON pointer or name of the input at fault, if one is.
    :param extra: further members of the problem document (RFC 9457 section 3.2).
    """

    def __init__(self, code: str, detail: str, *, status: int = 400, field: str | None = None, **extra: object) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.status = status
        self.field = field
        self.extra = extra


def not_found(noun: str) -> Refusal:
    """Return the one answer for what does not exist and for what is another workspace's."""
    return Refusal("not_found", f"There is no such {noun} in a workspace that you can see.", status=404)
