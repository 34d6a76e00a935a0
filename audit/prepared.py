"""Statements of the path of a call, whose plans the database keeps."""


class Prepared(str):
    """A constant SQL text that each connection prepares once; its parameters travel beside it (config.database).

    Only texts that never vary: each keeps a plan in every connection. Parameters are not pasted into the text, so
    what the server cannot tell the type of needs a cast.
    """

    __slots__ = ()
