"""What a test changes that others rely on, put back afterwards."""

from contextlib import contextmanager

from django.conf import settings

from audit import keyfiles, rotation


@contextmanager
def keys():
    """Put the keys back as they were: other tests pinned them. Secrets that came since stay, for what they wrap."""
    before = {path: path.read_text() for path in settings.PLACET_KEYS.iterdir() if "checkpoint" not in path.name}
    yield
    for path, text in before.items():
        now = path.read_text()
        if path.name in rotation.SECRETS:
            text += "".join(f"{line}\n" for line in now.splitlines() if line not in text)
        if now != text:
            keyfiles.replace(path, text, mode=path.stat().st_mode & 0o777)
    (settings.PLACET_KEYS / "bundle.old.key").unlink(missing_ok=True)
