"""Keys are long and random, known again by a digest, and nothing that prints them shows the secret."""

from tieout_server.callers import keys


def test_a_key_is_read_back_and_known_by_its_digest() -> None:
    made = keys.make()
    assert keys.parse(made.text) == made
    assert keys.is_same(made.secret, keys.digest_of(made.secret))
    assert not keys.is_same(made.secret[:-1] + "~", keys.digest_of(made.secret))


def test_no_two_keys_are_alike_and_each_has_256_random_bits() -> None:
    made = [keys.make() for _ in range(100)]
    assert len({key.id for key in made} | {key.secret for key in made}) == 200
    assert all(len(key.secret) == 43 for key in made)  # 32 bytes in base64


def test_what_is_no_key_is_none() -> None:
    good = keys.make().text
    for bad in ("", "tk_", good[:-1], good + "a", good.upper(), good.replace("tk_", "sk_"), " " + good, good + "\n"):
        assert keys.parse(bad) is None


def test_a_key_that_is_printed_shows_no_secret() -> None:
    made = keys.make()
    assert made.secret not in repr(made)
    assert made.secret not in str(made)
