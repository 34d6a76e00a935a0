"""Source text on a page: coloured where the style sheet says so, whole, and light enough to send."""

import html
import re

from registry.views import source
from tests.pages.test_look import CSS
from tests.registry import builders

COLOURED = set(re.findall(r"\.k-(\w+)", CSS))


def test_only_what_is_coloured_is_set_apart_and_nothing_of_the_source_is_lost():
    text = builders.policy("baseline")["modules"]["policy.rego"]
    shown = "\n".join(source.rego(text))
    assert html.unescape(re.sub(r"<[^>]*>", "", shown)).rstrip("\n") == text.rstrip("\n")
    used = set(re.findall(r'class="k-(\w+)"', shown))
    assert used and used <= COLOURED == source.COLOURED


def test_the_page_of_the_longest_policy_that_we_ship_stays_below_a_hundred_kilobytes(build, visitor, people, workspace):
    version = build.version("policy", "baseline", builders.policy("baseline"))
    page = visitor(people["alice"]).get(f"/w/{workspace.slug}/artifacts/policy/baseline/{version.number}/")
    assert page.status_code == 200 and len(page.content) < 100_000
