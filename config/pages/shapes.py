"""Tones of states, and shapes to go with them: no state is told by colour alone. 16 by 16, drawn with strokes."""

SHAPES = {
    # One for each tone.
    "allow": '<circle cx="8" cy="8" r="6.2"/><path d="M5.2 8.2 7.2 10.2 10.8 6.2"/>',
    "deny": '<path d="M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4z"/>'
    '<path d="M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4"/>',
    "hold": '<path d="M8 1.6 14.4 8 8 14.4 1.6 8z"/><path d="M6.7 6v4M9.3 6v4"/>',
    "info": '<circle cx="8" cy="8" r="6.2"/><path d="M8 4.6V8l2.3 1.6"/>',
    "muted": '<circle cx="8" cy="8" r="6.2"/><path d="M5.2 8h5.6"/>',
    "unknown": '<path d="M8 2 14.4 13.4H1.6z"/><path d="M8 6.4v3M8 11.4v.1"/>',
    # The frame.
    "comment": '<path d="M2 3h12v8H8l-3 3v-3H2z"/>',
    "search": '<circle cx="7" cy="7" r="4.6"/><path d="M10.4 10.4 14 14"/>',
    "down": '<path d="M4 6.2 8 10l4-3.8"/>',
    "review": '<path d="M3 2.5h7l3 3v8H3z"/><path d="M5.5 7.5h5M5.5 10.5h3.2"/>',
    "releases": '<path d="M8 1.8 13.6 5v6L8 14.2 2.4 11V5z"/><path d="M2.6 5.2 8 8.2l5.4-3M8 8.2v5.8"/>',
    "registry": '<path d="M2.5 3.5h11v3h-11zM2.5 9.5h11v3h-11z"/><path d="M5 5h.1M5 11h.1"/>',
    "calls": '<path d="M2 5.2h10.4M9.6 2.4l2.8 2.8-2.8 2.8M14 10.8H3.6M6.4 8l-2.8 2.8 2.8 2.8"/>',
    "runs": '<path d="M4.5 2.8v10.4L13 8z"/>',
    "trail": '<circle cx="4" cy="12" r="1.8"/><circle cx="12" cy="12" r="1.8"/><circle cx="8" cy="4" r="1.8"/>'
    '<path d="M7.2 5.6 4.8 10.4M8.8 5.6l2.4 4.8"/>',
    "people": '<circle cx="6" cy="5.4" r="2.6"/><path d="M1.6 13.4c.4-2.8 2-4.2 4.4-4.2s4 1.4 4.4 4.2"/>'
    '<path d="M10.6 3.2a2.5 2.5 0 0 1 0 4.5M12 9.6c1.4.6 2.2 1.9 2.4 3.8"/>',
}
_WORDS = {
    "allow": "allow allowed approved approve live passed completed succeeded done available released compensated "
    "settled finished happened",
    "deny": "deny denied rejected reject failed revoked dead void compensation_failed stopped",
    "hold": "hold held parked waiting pending deprecated break_glass request_changes",
    "unknown": "unknown indeterminate",
    "info": "open claimed decided in_flight queued running ready leased requested published retry_at compensating",
}
_TONES = {word: tone for tone, words in _WORDS.items() for word in words.split()}


def tone(word: str) -> str:
    """Return the tone of a state, verdict or outcome: a key of SHAPES."""
    return _TONES.get(word, "muted")
