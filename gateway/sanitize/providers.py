"""Tokens that name their issuer: a fixed prefix or form, a length, sometimes a checksum.

Written from the issuers' public documentation. `pk_`-like publishable keys are no secrets and are left out.
"""

import re
from collections.abc import Callable, Iterator

from gateway.sanitize import checksums, lookalikes
from gateway.sanitize.findings import Severity
from gateway.sanitize.recognisers import Accept, Recogniser, Span

_ALNUM = r"[A-Za-z0-9]"
_URLSAFE = r"[A-Za-z0-9_-]"
_HEX = r"[0-9a-f]"
_UUID = r"[0-9a-fA-F-]"


def _accept(lengths: range, severity: Severity, check: Callable[[str], bool] | None = None) -> Accept:
    """Take a candidate of a fit length that does not go on, and whose body is no placeholder."""

    def accept(text: str, start: int, end: int) -> Iterator[Span]:
        token = text[start:end]
        if len(token) not in lengths or (end < len(text) and (text[end].isalnum() and text[end].isascii())):
            return
        if start and text[start - 1].isascii() and text[start - 1].isalnum():
            return
        if lookalikes.random_enough(token) and (check is None or check(token)):
            yield start, end, severity

    return accept


def _one(kind: str, pattern: str, shortest: int, longest: int = 4096, severity: Severity = "high") -> Recogniser:
    return Recogniser(f"secret.{kind}", severity, pattern, _accept(range(shortest, longest + 1), severity))


def _checksummed(text: str, start: int, end: int) -> Iterator[Span]:
    """GitHub and npm: prefix, 30 characters, and their CRC-32. A wrong sum lowers the severity, for forms change."""
    token = text[start:end]
    body = token[token.rindex("_") + 1 :]
    if len(body) < 36 or not lookalikes.random_enough(body):
        return
    valid = len(body) == 36 and checksums.crc_base62(body[:30]) == body[30:]
    yield start, end, "high" if valid else "medium"


def _placet(text: str, start: int, end: int) -> Iterator[Span]:
    body = text[start:end].rpartition("_")[2]
    if len(body) == 49 and lookalikes.random_enough(body):
        yield start, end, "high" if checksums.crc_base62(body[:43]) == body[43:] else "medium"


def _mixed(text: str, start: int, end: int) -> Iterator[Span]:
    """Short prefixes that are also words of code: letters of both cases and digits must be there."""
    token = text[start:end]
    if end < len(text) and text[end].isascii() and (text[end].isalnum() or text[end] in "_("):
        return
    if all(re.search(one, token) for one in (r"\d", r"[a-z]", r"[A-Z]")) and lookalikes.random_enough(token):
        yield start, end, "high"


RECOGNISERS = (
    # Clouds
    _one("aws_access_key", r"\b(?:AKIA|ASIA|ABIA|ACCA|AROA)[A-Z2-7]+", 20, 20),
    _one("gcp_api_key", rf"\bAIza{_URLSAFE}+", 39, 39),
    _one("google_oauth", rf"\bya29\.{_URLSAFE}+", 30),
    _one("google_oauth", rf"\bGOCSPX-{_URLSAFE}+", 30, 40),
    _one("azure_storage_key", r"\bAccountKey=([A-Za-z0-9+/]+={0,2})", 86, 88),
    _one("azure_client_secret", r"\b[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]+", 37, 44),
    _one("alibaba_access_key", rf"\bLTAI{_ALNUM}+", 16, 30),
    _one("tencent_secret_id", rf"\bAKID{_ALNUM}+", 36, 36),
    _one("digitalocean_token", rf"\bdo[opr]_v1_{_HEX}+", 71, 71),
    _one("heroku_key", rf"\bHRKU-{_URLSAFE}+", 40, 80),
    _one("flyio_token", r"\bfm[12][ar]?_[A-Za-z0-9+/=,_-]+", 60),
    _one("scaleway_key", r"\bSCW[A-Z0-9]+", 20, 20, "medium"),
    # Our own: keys of agents, access tokens of persons, codes of devices (registry.bearer)
    Recogniser("secret.placet_key", "high", rf"\bplacet_(?:person_|device_)?{_ALNUM}+", _placet),
    # Source and packages
    Recogniser("secret.github_token", "high", rf"\bgh[pousr]_{_ALNUM}+", _checksummed),
    _one("github_token", rf"\bgithub_pat_{_ALNUM}+_{_ALNUM}+", 82, 100),
    _one("gitlab_token", rf"\bgl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|oas|soat|ffct)-{_URLSAFE}+(?:\.[0-9a-z.]+)?", 24),
    _one("gitlab_token", rf"\bGR1348941{_URLSAFE}+", 29, 40),
    _one("bitbucket_token", rf"\bAT(?:BB|CTT3|ATT3){_URLSAFE}+", 30),
    Recogniser("secret.npm_token", "high", rf"\bnpm_{_ALNUM}+", _checksummed),
    _one("pypi_token", rf"\bpypi-Ag(?:EIcHlwaS5vcmc|ENdGVzdC5weXBpLm9yZw){_URLSAFE}+", 70),
    _one("rubygems_key", rf"\brubygems_{_HEX}+", 57, 57),
    _one("crates_token", rf"\bcio{_ALNUM}+", 35, 35),
    _one("nuget_key", r"\boy2[a-z0-9]+", 46, 46),
    _one("docker_token", rf"\bdckr_(?:pat|oat)_{_URLSAFE}+", 36, 50),
    _one("jfrog_key", rf"\bAKCp{_ALNUM}+", 50, 80),
    _one("sonar_token", rf"\bsq[apu]_{_HEX}+", 44, 44),
    _one("circleci_token", rf"\bCCIPAT_{_ALNUM}+_{_HEX}+", 60, 80),
    _one("atlas_token", rf"\b{_ALNUM}+\.atlasv1\.{_URLSAFE}+", 70, 110),
    _one("clojars_token", rf"\bCLOJARS_{_HEX}+", 68, 68),
    # Chat and mail
    _one("slack_token", r"\bxox[abeoprs]-[0-9A-Za-z-]+", 24),
    _one("slack_token", r"\bxapp-[0-9]-[0-9A-Za-z-]+", 40),
    _one("slack_webhook", r"\bhooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]+", 50),
    _one("discord_webhook", rf"\bdiscord(?:app)?\.com/api/webhooks/[0-9]+/{_URLSAFE}+", 90),
    _one("discord_token", rf"\b[MNO]{_ALNUM}{{23,25}}\.{_URLSAFE}{{6}}\.{_URLSAFE}+", 59, 80),
    _one(
        "teams_webhook", rf"\.webhook\.office\.com/webhookb2/{_UUID}+@{_UUID}+/IncomingWebhook/{_ALNUM}+/{_UUID}+", 120
    ),
    _one("telegram_token", rf"\b[0-9]+:AA{_URLSAFE}+", 43, 48),
    _one("sendgrid_key", rf"\bSG\.{_URLSAFE}+\.{_URLSAFE}+", 60, 80),
    _one("mailgun_key", rf"\bkey-{_HEX}+", 36, 36),
    _one("mailchimp_key", rf"\b{_HEX}+-us[0-9]{{1,2}}\b", 35, 37),
    _one("brevo_key", rf"\bxkeysib-{_HEX}+-{_ALNUM}+", 80, 100),
    _one("twilio_key", rf"\bSK{_HEX}+", 34, 34),
    _one("postman_key", rf"\bPMAK-{_HEX}+-{_HEX}+", 60, 70),
    # Money and shops
    _one("stripe_key", rf"\b[sr]k_live_{_ALNUM}+", 24),
    _one("stripe_key", rf"\b[sr]k_test_{_ALNUM}+", 24, severity="medium"),
    _one("stripe_key", rf"\bwhsec_{_ALNUM}+", 30),
    _one("square_token", rf"\b(?:sq0[a-z]tp|sq0csp)-{_URLSAFE}+", 28),
    _one("square_token", rf"\bEAAA{_URLSAFE}+", 64, 64),
    _one("paypal_token", rf"\baccess_token\$(?:production|sandbox)\$[0-9a-z]+\${_HEX}+", 60),
    _one("plaid_token", rf"\baccess-(?:sandbox|development|production)-{_UUID}+", 48, 60),
    _one("shopify_token", r"\bshp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]+", 38, 38),
    _one("easypost_key", rf"\bEZ[AT]K{_ALNUM}+", 58, 58),
    _one("shippo_key", rf"\bshippo_(?:live|test)_{_HEX}+", 51, 52),
    _one("duffel_key", rf"\bduffel_(?:live|test)_{_URLSAFE}+", 50, 60),
    _one("flutterwave_key", rf"\bFLWSECK(?:_TEST)?-{_ALNUM}+(?:-X)?", 40, 60),
    # Models
    _one("openai_key", rf"\bsk-(?:proj|svcacct|admin|None)-{_URLSAFE}+", 48),
    _one("openai_key", rf"\bsk-{_ALNUM}+T3BlbkFJ{_ALNUM}+", 48, 60),
    _one("anthropic_key", rf"\bsk-ant-(?:api|admin|oat|ort|sid)[0-9]+-{_URLSAFE}+", 80),
    _one("openrouter_key", rf"\bsk-or-v1-{_HEX}+", 73, 73),
    _one("model_key", rf"\bsk-{_ALNUM}+", 35, 80, "medium"),
    _one("huggingface_token", r"\b(?:hf|api_org)_[A-Za-z]+", 37, 42),
    _one("replicate_token", rf"\br8_{_ALNUM}+", 40, 40),
    _one("groq_key", rf"\bgsk_{_ALNUM}+", 50, 60),
    _one("xai_key", r"\bxai-[A-Za-z0-9_]+", 70, 90),
    _one("perplexity_key", rf"\bpplx-{_ALNUM}+", 45, 60),
    _one("tavily_key", rf"\btvly-(?:dev-|prod-)?{_ALNUM}+", 30, 60),
    _one("nvidia_key", rf"\bnvapi-{_URLSAFE}+", 60, 80),
    _one("pinecone_key", rf"\bpcsk_{_URLSAFE}+", 50, 90),
    _one("langsmith_key", rf"\blsv2_(?:pt|sk)_{_HEX}+_{_HEX}+", 45, 60),
    _one("jina_key", rf"\bjina_{_URLSAFE}+", 60, 75),
    _one("elevenlabs_key", rf"\bsk_{_HEX}+", 51, 51),
    # Operations
    _one("hashicorp_token", rf"\bhv[sbr]\.{_URLSAFE}+", 28),
    Recogniser("secret.hashicorp_token", "high", r"\b[sbr]\.[A-Za-z0-9]{24}", _mixed),
    _one("doppler_token", rf"\bdp\.(?:pt|st|ct|sa|scim|audit|said)\.(?:[a-z0-9_-]+\.)?{_ALNUM}+", 40),
    _one("databricks_token", r"\bdapi[0-9a-f]+(?:-[0-9])?", 36, 38),
    _one("pulumi_token", rf"\bpul-{_HEX}+", 44, 44),
    _one("grafana_token", r"\bgl(?:c|sa)_[A-Za-z0-9+/_]+={0,2}", 40),
    _one("newrelic_key", r"\bNR(?:AK|JS|IQ|II|BR|AA|RA)-[A-Za-z0-9_-]+", 24, 60),
    _one("newrelic_key", r"\b[0-9a-f]+NRAL\b", 40, 40),
    _one("sentry_token", r"\bsntry[su]_[A-Za-z0-9+/=_-]+", 60),
    _one("dynatrace_token", r"\bdt0[a-z][0-9]{2}\.[A-Z0-9]+\.[A-Z0-9]+", 90, 110),
    _one("tailscale_key", rf"\btskey-[a-z]+-{_ALNUM}+(?:-{_ALNUM}+)?", 30),
    _one("planetscale_token", rf"\bpscale_(?:tkn|pw|oauth|api)_{_URLSAFE}+", 40),
    _one("supabase_key", rf"\bsbp_{_HEX}+", 44, 44),
    _one("supabase_key", rf"\bsb_secret_{_URLSAFE}+", 30),
    _one("sourcegraph_token", rf"\bsgp_(?:local_|{_HEX}{{16}}_)?{_HEX}+", 44, 70),
    _one("cloudflare_key", rf"\bv1\.0-{_HEX}+-{_HEX}+", 100, 200),
    _one("netlify_token", rf"\bnfp_{_ALNUM}+", 40, 44),
    _one("prefect_key", rf"\bpn[ub]_{_ALNUM}+", 36, 40, "medium"),
    _one("onepassword_token", rf"\bops_eyJ{_URLSAFE}+", 200),
    _one("age_key", r"\bAGE-SECRET-KEY-1[0-9A-Z]+", 74, 74),
    _one("linear_key", rf"\blin_(?:api|oauth)_{_ALNUM}+", 40),
    _one("notion_token", rf"\b(?:ntn_|secret_){_ALNUM}+", 46, 54),
    _one("figma_token", rf"\bfig[du]_{_URLSAFE}+", 40),
    _one("airtable_token", rf"\bpat{_ALNUM}+\.{_HEX}+", 82, 82),
    _one("facebook_token", rf"\bEAA[A-Z]{_ALNUM}+", 60),
    _one("dropbox_token", rf"\bsl\.(?:u\.)?{_URLSAFE}+", 60),
    _one("mapbox_token", rf"\bsk\.eyJ{_URLSAFE}+\.{_URLSAFE}+", 60),
    _one("contentful_token", rf"\bCFPAT-{_URLSAFE}+", 48, 52),
    _one("typeform_token", r"\btfp_[A-Za-z0-9_.=-]+", 44, 70),
    _one("readme_key", r"\brdme_[a-z0-9]+", 70, 80),
    _one("launchdarkly_key", rf"\b(?:sdk|api)-{_HEX}+-{_HEX}+-{_HEX}+-{_HEX}+-{_HEX}+", 40, 40),
    _one("frameio_token", rf"\bfio-u-{_URLSAFE}+", 60, 80),
    _one("adafruit_key", rf"\baio_{_ALNUM}+", 32, 32),
    _one("okta_token", rf"\bSSWS\s+(00{_URLSAFE}+)", 40, 44),
)
