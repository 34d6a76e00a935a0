"""The form of the sign-in page."""

from typing import Any

from allauth.account.forms import LoginForm


class SignIn(LoginForm):  # type: ignore[misc]
    """Takes `username`, as our page and our scripts always sent it, for allauth's `login`."""

    def __init__(self, *args: Any, data: Any = None, **kwargs: Any) -> None:
        if data is not None and "username" in data and "login" not in data:
            data = data.copy()
            data["login"] = data["username"]
        super().__init__(*args, data=data, **kwargs)
