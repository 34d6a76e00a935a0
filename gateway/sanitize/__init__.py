"""Deterministic recognisers: what stands in a JSON value, never what to do about it.

A finding is an attribute for a policy, not a verdict (DESIGN section 5). Text matching is no boundary: labels and
argument provenance are. docs/reference/sanitizer.md lists the kinds and what was measured.
"""

from gateway.sanitize.fencing import fence
from gateway.sanitize.findings import Finding, SanitizerFailed, covers, summary
from gateway.sanitize.markers import marker
from gateway.sanitize.redaction import redact, replace
from gateway.sanitize.scanner import scan

__all__ = ["Finding", "SanitizerFailed", "covers", "fence", "marker", "redact", "replace", "scan", "summary"]
