# ruff: noqa: RUF001 - the ambiguous characters are what is tested
"""Personal data with a form of its own, by checksum and context."""

import pytest

from gateway import sanitize


def personal(value: object) -> list[tuple[str, str]]:
    return [
        (one.kind, str(value)[one.start : one.end] if isinstance(value, str) else one.path)
        for one in sanitize.scan(value)
        if one.kind.startswith("pii.")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to bob.smith+news@mail.corp.co.uk.", ("pii.email", "bob.smith+news@mail.corp.co.uk")),
        ("<jörg@müller.de>", ("pii.email", "jörg@müller.de")),
        ("card 4111 1111 1111 1111 exp 12/28", ("pii.card", "4111 1111 1111 1111")),
        ("5555555555554444", ("pii.card", "5555555555554444")),
        ("amex 3782-822463-10005", ("pii.card", "3782-822463-10005")),
        ("ref 4444 4111 1111 1111 1111", ("pii.card", "4111 1111 1111 1111")),
        ("IBAN GB29 NWBK 6016 1331 9268 19, thanks", ("pii.iban", "GB29 NWBK 6016 1331 9268 19")),
        ("de89370400440532013000", ("pii.iban", "de89370400440532013000")),
        ("call +49 30 901820 today", ("pii.phone", "+49 30 901820")),
        ("(415) 555-2671", ("pii.phone", "(415) 555-2671")),
        ("Tel.: 07700 063 966", ("pii.phone", "07700 063 966")),
        ("my SSN is 460-89-9847", ("pii.us_ssn", "460-89-9847")),
        ("from 8.8.4.4 port 22", ("pii.ip", "8.8.4.4")),
        ("from 2001:4860:4860::8888", ("pii.ip", "2001:4860:4860::8888")),
    ],
)
def test_personal_data_is_found_at_its_place(text, expected):
    assert personal(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "logo@2x.png",
        "git@github.com:placet/placet.git",
        "@scope/package@1.2.3",
        "user@localhost",
        "4111 1111 1111 1112",  # Luhn
        "9999 9999 9999 9995",  # no issuer
        "order 4111111111111111234567",  # goes on
        "0x4111111111111111",
        "4000.0000.0000.0002",
        "GB29 NWBK 6016 1331 9268 18",  # modulo 97
        "ZZ29 NWBK 6016 1331 9268 19",  # no country
        "version 1.2.3.4",
        "v10.20.30.40",
        "10.0.0.7, 127.0.0.1 and 192.168.1.1",
        "300.1.1.1",
        "1.2.3.4.5",
        "at 12:30:45 o'clock",
        "std::vector::size",
        "000-12-3456 and 912-34-5678",
        "2024-05-30 10:20:30.123456",
        "build 1716979200000",
        "phone the office on 2024-05-30",
        "+35236450.6",
        "call 911",
    ],
)
def test_what_only_looks_like_personal_data_is_left_alone(text):
    assert personal(text) == []


def test_a_card_as_a_json_number_is_found():
    assert personal({"pan": 4111111111111111}) == [("pii.card", "/pan")]
    assert personal({"id": 4111111111111112, "at": 1716979200000, "ok": True, "x": 1.5}) == []


def test_the_name_of_a_member_makes_digits_a_telephone_number():
    assert personal({"phone": "467 3395"}) == [("pii.phone", "/phone")]
    assert personal({"amount": "467 3395"}) == []


def test_full_width_digits_do_not_hide_a_card():
    assert ("pii.card", "/pan") in personal({"pan": "４１１１ １１１１ １１１１ １１１１"})
