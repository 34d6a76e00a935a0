"""Logins of devices (RFC 8628): a program shows a code, its person confirms it in a browser, the program gets a token.

So second factors and single sign-on work, and no password is ever given to the program.
"""

import hmac
import ipaddress
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from audit import log
from audit.refusal import Refusal, not_found
from registry import bearer, clock, people, tokens
from registry.models import AccessToken, DeviceLogin, Person

LIFE = timedelta(minutes=10)
INTERVAL = 2  # seconds between two questions of the program
_PREFIX = "placet_device_"
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words; nothing that is read as a digit
_MOST_BY_ADDRESS = 30
_MOST = 1000


def begin(*, machine: str, address: str | None, hours: int) -> tuple[DeviceLogin, str]:
    """Begin a login; return it and the device code, which the program keeps to itself.

    :raises Refusal: hours_out_of_range, device_logins_limited (429).
    """
    tokens.check_hours(hours)
    now = clock.read()
    DeviceLogin.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()
    recent = DeviceLogin.objects.filter(created_at__gt=now - LIFE)
    place = _address(address)
    if recent.filter(address=place).count() >= _MOST_BY_ADDRESS or recent.count() >= _MOST:
        detail = "Too many logins were begun in the last ten minutes; wait a little, then run `placet login` again."
        raise Refusal("device_logins_limited", detail, status=429, retry_after=60)
    code = bearer.make(_PREFIX)
    letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
    row = DeviceLogin.objects.create(
        device_hash=code.hash,
        code=f"{letters[:4]}-{letters[4:]}",
        machine=machine[:200],
        address=place,
        hours=hours,
        created_at=now,
        expires_at=now + LIFE,
    )
    return row, code.text


def find(code: str) -> DeviceLogin | None:
    """Return the pending login with this code; case, spaces and the hyphen do not matter."""
    letters = "".join(letter for letter in code.upper() if letter.isalpha())[:9]
    row = DeviceLogin.objects.filter(code=f"{letters[:4]}-{letters[4:]}", state="pending").first()
    return row if row is not None and row.expires_at > clock.read() else None


def decide(row: DeviceLogin, *, person: Person, confirm: bool, now: datetime, correlation_id: str) -> DeviceLogin:
    """Let the program act as `person`, or not. Once. :raises Refusal: device_login_over."""
    with transaction.atomic():
        row = DeviceLogin.objects.select_for_update().get(pk=row.pk)
        if row.state != "pending" or row.expires_at <= clock.read():
            detail = "This login is decided already, or its ten minutes are over; run `placet login` again."
            raise Refusal("device_login_over", detail, status=409)
        row.state, row.person = ("confirmed" if confirm else "refused"), person
        row.save(update_fields=["state", "person"])
        people.record(
            f"registry.device_login.{row.state}",
            person,
            actor=person.actor,
            now=now,
            correlation_id=correlation_id,
            subjects={"device_login": str(row.pk)},
            data={
                "machine": log.Sealed(row.machine, subject=person.actor),
                "address": log.Sealed(row.address, subject=person.actor),
            },
        )
    return row


def collect(pk: UUID, device_code: str, *, now: datetime, correlation_id: str) -> tuple[AccessToken, str]:
    """Return the token of a confirmed login and its secret, once. The codes are those of RFC 8628 section 3.5.

    :raises Refusal: not_found without the device code; authorization_pending, slow_down, access_denied, expired_token.
    """
    refusal: Refusal | None = None
    with transaction.atomic():
        row = DeviceLogin.objects.select_for_update(of=("self",)).select_related("person").filter(pk=pk).first()
        if row is None or not hmac.compare_digest(bytes(row.device_hash), bearer.hash_of(device_code)):
            raise not_found("device login")
        refusal = _not_yet(row, clock.read())
        if refusal is None:
            assert row.person is not None  # noqa: S101 - the database holds it too
            row.state = "collected"
            row.save(update_fields=["state"])
            made = tokens.create(
                row.person,
                name=row.machine,
                hours=row.hours,
                actor=row.person.actor,
                now=now,
                correlation_id=correlation_id,
            )
    if refusal is not None:  # outside: when it was asked is kept
        raise refusal
    return made


def _not_yet(row: DeviceLogin, now: datetime) -> Refusal | None:
    """Return why there is no token, if there is none, and write down that it was asked for."""
    if row.state == "refused":
        return Refusal("access_denied", "The person refused this login in the browser.", status=403)
    if row.state == "collected" or row.expires_at <= now:
        detail = "This login has been used, or its ten minutes are over; run `placet login` again."
        return Refusal("expired_token", detail)
    if row.state == "confirmed":
        return None
    hasty = row.asked_at is not None and now - row.asked_at < timedelta(seconds=INTERVAL / 2)
    row.asked_at = now
    row.save(update_fields=["asked_at"])
    if hasty:
        return Refusal("slow_down", f"Ask at most every {INTERVAL} seconds.", retry_after=INTERVAL)
    return Refusal("authorization_pending", "Nobody has confirmed this login yet.", retry_after=INTERVAL)


def _address(text: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address(text or ""))
    except ValueError:
        return None  # behind a unix socket
