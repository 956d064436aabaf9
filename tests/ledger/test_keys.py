"""Secrets are strong, only their digests are kept, and guessing costs nobody anything."""

import string

from aigrid.core.clock import SECOND
from aigrid.ledger.base import Key
from aigrid.ledger.keys import PREFIX, KeyRing, digest, new_secret


def test_secrets_are_long_random_and_base62():
    secrets = {new_secret() for _ in range(200)}
    assert len(secrets) == 200
    for secret in secrets:
        rest = secret.removeprefix(PREFIX)
        assert len(rest) >= 32
        assert set(rest) <= set(string.ascii_letters + string.digits)


def test_a_revoked_key_is_not_found_and_not_asked_for_again():
    ring, secret = KeyRing(), new_secret()
    ring.put([(digest(secret), Key("k", "acme"))])
    assert ring.authenticate(secret) == Key("k", "acme")
    ring.put([(digest(secret), Key("k", "acme", revoked_ns=1))])
    assert ring.authenticate(secret) is None
    assert not ring.worth_asking(secret)


def test_unknown_secrets_are_remembered_briefly_and_boundedly():
    now = [SECOND]
    ring = KeyRing(lambda: now[0])
    secret = new_secret()
    assert ring.worth_asking(secret)
    ring.unknown(secret)
    assert not ring.worth_asking(secret)
    now[0] += 3 * SECOND
    assert ring.worth_asking(secret)
    for _ in range(10_000):
        ring.unknown(new_secret())
    assert len(ring._unknown) <= 4096


def test_a_new_key_ends_what_was_remembered_of_unknown_ones():
    ring, secret = KeyRing(), new_secret()
    ring.unknown(secret)
    ring.put([(digest(new_secret()), Key("other", "acme"))])
    assert ring.worth_asking(secret)


def test_what_does_not_look_like_a_key_is_never_asked_for():
    ring = KeyRing()
    for text in ("", "sk-", "Bearer x", "\udcff" * 50, "ключ"):
        assert ring.authenticate(text) is None
        assert not ring.worth_asking(text)
