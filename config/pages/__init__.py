"""Pages that read several apps: login, start, trail, navigation."""
