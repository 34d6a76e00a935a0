"""Tags of the pages: states, digests, times, names, amounts, source text, and the navigation."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from audit.canonical import JSON
from config.pages import names, navigation, shapes
from registry.views import source

register = template.Library()

PARTICIPLES = {"approve": "approved", "reject": "rejected", "request_changes": "asked for changes"}
UNITS = ((86400 * 365, "y"), (86400 * 30, "mo"), (86400, "d"), (3600, "h"), (60, "min"))


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return a shape as inline SVG, hidden from screen readers: a word stands beside it."""
    return format_html(
        '<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">{}</svg>',
        mark_safe(shapes.SHAPES[name]),  # noqa: S308 - our own constants
    )


register.filter("tone", shapes.tone)


@register.filter
def shape(word: str) -> SafeString:
    """Return the icon of a state."""
    return icon(shapes.tone(word))


@register.filter
def state(word: str) -> SafeString:
    """Return a state as word, shape and colour."""
    kind = shapes.tone(word)
    colour = "hold" if kind == "unknown" else kind
    said = PARTICIPLES.get(word, word.replace("_", " "))
    return format_html('<span class="chip {}">{} {}</span>', colour, icon(kind), said)


@register.filter
def short(digest: str) -> str:
    """Return the first twelve hex digits of a digest."""
    return digest.rpartition(":")[2][:12]


@register.filter
def digest(value: str | bytes | None) -> SafeString:
    """Return a digest that is short until it is pointed at or focused; the script copies the whole on a press."""
    if not value:
        return mark_safe("")
    text = value if isinstance(value, str) else bytes(value).hex()
    return format_html(
        '<span class="digest"><button type="button" class="digest-short" data-copy="{}" '
        'aria-label="{}, short for {}">{}</button><span class="digest-full" aria-hidden="true"><code>{}</code> '
        '<span class="digest-hint" hidden>select it to copy</span></span></span>',
        text, short(text), text, short(text), text,
    )  # fmt: skip


@register.filter
def key_id(public: str) -> str:
    """Return the id in a public key `<name>+<id>+<base64>`."""
    return public.split("+")[1] if public.count("+") >= 2 else public


@register.filter
def when(at: datetime | None) -> SafeString:
    """Return a time in UTC; the page's script shows it in the reader's zone."""
    if at is None:
        return mark_safe("")
    utc = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}" data-zone>{}</time>',
        utc.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        utc.strftime("%Y-%m-%d %H:%M UTC"),
    )


@register.filter
def ago(at: datetime | None) -> SafeString:
    """Return a time relative to now, with the time itself in the title."""
    if at is None:
        return mark_safe("")
    seconds = (at - timezone.now()).total_seconds()
    amount = span(abs(seconds))
    words = "now" if amount == "0 s" else f"in {amount}" if seconds > 0 else f"{amount} ago"
    utc = at.astimezone(UTC)
    return format_html(
        '<time class="nowrap" datetime="{}" title="{}" data-ago>{}</time>',
        utc.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        words,
    )


@register.filter
def moment(at: datetime | None) -> SafeString:
    """Return a time in the reader's zone with the relative one beside it."""
    if at is None:
        return mark_safe("")
    return format_html('{} <span class="muted">({})</span>', when(at), ago(at))


@register.filter
def countdown(at: datetime) -> SafeString:
    """Return the time that is left; the page's script counts it down."""
    utc = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}" data-countdown>{}</time>',
        utc.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        span(max(0.0, (at - timezone.now()).total_seconds())),
    )


@register.filter
def span(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


@register.filter
def milliseconds(seconds: float | None) -> str:
    """Return seconds as ms, or as s from ten on."""
    if seconds is None:
        return ""
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


@register.filter
def usd(micro: int | None) -> str:
    """Return integer micro-USD as dollars, without rounding anything away."""
    if micro is None:
        return ""
    text = f"{micro // 1_000_000:,}.{micro % 1_000_000:06d}".rstrip("0")
    whole, _, rest = text.partition(".")
    return f"${whole}.{rest.ljust(2, '0')}"


@register.filter
def count(number: int | None) -> str:
    """Return a whole number with its thousands set apart."""
    return "" if number is None else f"{number:,}"


@register.filter
def words(code: str) -> str:
    """Return a snake_case code as words."""
    return code.replace("_", " ")


@register.filter
def reveal(text: object) -> SafeString:
    """Return text with characters that nobody can see made visible."""
    return source.plain(str(text))


@register.filter
def pretty(value: JSON) -> SafeString:
    """Return a JSON value, indented and highlighted."""
    return source.pretty(value)


@register.filter
def rego(text: str) -> list[SafeString]:
    """Return the lines of a Rego module, highlighted."""
    return source.rego(text.removesuffix("\n"))


@register.filter
def scalar(value: JSON) -> SafeString:
    """Return a JSON value for a table cell: texts as they are, everything else as JSON."""
    return source.plain(value) if isinstance(value, str) else source.pretty(value)


@register.filter
def member(values: Mapping[Any, Any] | None, key: object) -> Any:
    """Return one member of a mapping, or nothing."""
    return values.get(key, ()) if values else ()


@register.filter
def uuid_of(actor: str | None) -> uuid.UUID | None:
    """Return the id in an actor such as `person:<uuid>`."""
    return names.identity(actor or "")[1]


@register.simple_tag(takes_context=True)
def actor(context: template.Context, who: object) -> SafeString:
    """Return who acted, by name; `who` is a person, a person's id, or an actor of the trail."""
    return names.shown(context["request"], who)


@register.simple_tag(takes_context=True)
def place(context: template.Context, name: str, *args: object) -> str:
    """Return the address of a page of this workspace, or "" if there is none by that name."""
    slug = context["request"].visit.workspace.slug
    try:
        return reverse(f"pages:{name}", args=[slug, *args])
    except NoReverseMatch:
        return ""


@register.simple_tag(takes_context=True)
def live(context: template.Context, name: str, seconds: int = 5) -> SafeString:
    """Return the attributes of an element that is fetched again while the page is looked at; see `frame.live`."""
    return format_html(
        'id="{}" hx-get="{}" hx-trigger="every {}s" hx-swap="outerHTML" hx-headers="{}" data-poll',
        name,
        context["request"].get_full_path(),
        seconds,
        json.dumps({"If-None-Match": context["live_tag"]}),
    )


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """Return the query of this page with `changes` (None takes a parameter away)."""
    request: HttpRequest = context["request"]
    parameters = request.GET.copy()
    for name, value in changes.items():
        parameters.pop(name, None)
        if value not in (None, ""):
            parameters[name] = str(value)
    return f"?{parameters.urlencode()}"


@register.inclusion_tag("partials/navigation.html", takes_context=True, name="navigation")
def side(context: template.Context) -> dict[str, Any]:
    """Return what the navigation shows."""
    return navigation.of(context["request"])
