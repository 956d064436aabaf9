import os

import pytest

from aigrid import packs
from aigrid.packs import keys, reference, transfer
from aigrid.packs.registry import Registry, RegistryError
from tests.packs.newer import Newer


def there(newer, credentials=("tom", "secret")):
    return Registry(reference.parse(f"{newer.url}/team/x", "1.0"), plain_http=True, credentials=credentials)


async def test_tokens_referrers_and_redirects_as_the_distribution_spec_has_them(make):
    folder = make(weights=os.urandom(100_000))
    async with Newer() as newer:
        async with there(newer) as registry:
            done = await transfer.push(folder, registry)
        async with there(newer) as registry:
            pulled = await transfer.pull(registry, keys.trusted())
    assert packs.verify(pulled, keys.trusted()).ok
    assert packs.open(pulled).digest == done.digest
    assert done.digest.replace(":", "-") not in newer.manifests  # it lists referrers itself
    assert any("/referrers/" in path for _, path, _ in newer.seen)
    asked = [authorization for _, path, authorization in newer.seen if path == "/token"]
    assert len(asked) >= 2
    assert all(authorization.startswith("Basic ") for authorization in asked)
    elsewhere = [authorization for _, path, authorization in newer.seen if path.startswith("/elsewhere/")]
    assert elsewhere
    assert not any(elsewhere)  # the token does not go to another host


async def test_an_upload_goes_on_with_the_byte_after_the_last_that_arrived(make, monkeypatch):
    monkeypatch.setattr("aigrid.packs.blobs.CHUNK", 1 << 20)
    folder = make(weights=os.urandom(5 << 20))
    async with Newer(fails=3) as newer:
        async with there(newer) as registry:
            sent = []
            done = await transfer.push(folder, registry, sent.append)
        assert newer.fails == 0
    assert sum(sent) == done.sent
    begun = [path for method, path, _ in newer.seen if method == "POST"]
    assert (
        len(begun) == len({layer.digest for layer in packs.open(folder).derived.layers}) + 1 + 2
    )  # once each: layers, config, signature


async def test_without_a_login_it_says_so(make):
    async with Newer() as newer, there(newer, credentials=None) as registry:
        with pytest.raises(RegistryError, match="check your login"):
            await transfer.push(make(), registry)
