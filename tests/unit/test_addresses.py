import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from activities.addresses import database_address, key, mask, redis_address, secrets_in, shown, web_address

ODD = st.text(st.sampled_from("/#?@:[]%&= \n\"'\\é+"), max_size=6)
SECRETS = st.builds("{}Zq8w{}Kp3v{}".format, ODD, ODD, ODD)
"""Both halves must stay unseen: a client may cut a secret at any odd character."""


def arguments(address: str) -> dict[str, object]:
    """What the driver is given."""
    return dict(dialect().create_connect_args(make_url(database_address(address)))[1])


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_a_database_may_be_named_as_people_know_it(scheme: str):
    """With libpq's schemes or SQLAlchemy's, it is the same database."""
    expected = {"host": "h", "port": 5, "user": "u", "password": "p", "database": "d"}

    assert expected == arguments(f"{scheme}://u:p@h:5/d")


@pytest.mark.parametrize("mode", ["disable", "require", "verify-full"])
def test_the_driver_is_told_of_tls_in_its_own_word(mode: str):
    """`sslmode` is libpq's name of what the driver calls `ssl`."""
    assert mode == arguments(f"postgresql://h/d?sslmode={mode}")["ssl"]


def test_what_the_driver_reads_in_an_address_only_is_handed_on_as_one():
    """Certificates and settings of the session are no arguments of the driver."""
    given_on = arguments("postgres://h/d?sslmode=verify-full&sslrootcert=/a%20b&application_name=x&dbname=e")

    assert "postgresql://?sslrootcert=%2Fa%20b&application_name=x" == given_on["dsn"]
    assert ("verify-full", "e") == (given_on["ssl"], given_on["database"])


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("postgresql://h/d?channel_binding=require", "channel_binding"),
        ("postgresql://h/d?connect_timeout=3", "connect_timeout"),
        ("postgresql://h/d?sslmode=yes", "verify-full"),
        ("postgresql+psycopg://h/d", "postgresql://USER"),
        ("mysql://h/d", "postgresql://USER"),
        ("postgresql://u:p@h:port/d", "host or port"),
        ("postgresql://u:p@[::1/d", "host or port"),
    ],
)
def test_what_the_driver_does_not_know_is_refused_in_a_word(address: str, word: str):
    """An option that is dropped in silence would not do what it was set for."""
    with pytest.raises(ValueError, match=word):
        database_address(address)


@pytest.mark.parametrize("address", ["redis:/h", "http://h", "redis://h:x", "redis://[x/0"])
def test_a_redis_that_cannot_be_named_so_is_refused(address: str):
    """Before a client fails on it in words of its own."""
    with pytest.raises(ValueError, match="redis://:PASSWORD@HOST"):
        redis_address(address)


def test_an_address_without_login_stays_as_it_is():
    """Sockets too."""
    addresses = ["unix:///tmp/redis.sock?db=0", "redis://h:1/0"]

    assert addresses == [redis_address(one) for one in addresses]


@pytest.mark.parametrize(
    "address", ["h:1", "ftp://h", "https://", "http://u:p@:1", "https://a,b", "http://a b"]
)
def test_a_service_is_named_with_scheme_and_host(address: str):
    """Anything else is refused with the form that is meant."""
    with pytest.raises(ValueError, match="https://HOST"):
        web_address(address)


@given(SECRETS)
def test_a_password_may_hold_anything(secret: str):
    """Quoted or not, it reaches the server as it was meant: `%` and two digits count as quoted."""
    plain = secret.replace("%", "")

    assert plain == arguments(f"postgresql://u:{plain}@h:5/d")["password"]
    once = database_address(f"postgresql://u:{secret}@h:5/d")
    assert once == database_address(once)


@example("Zq8w:Kp3v://", "h:5")
@given(SECRETS, st.sampled_from(["h:5", "h:x", "[h", "h:5/x?a=b", "["]))
def test_nothing_before_the_host_is_shown(secret: str, place: str):
    """Whatever a password holds, and whatever else is wrong."""
    for address in (f"redis://me:{secret}@{place}", f"http://{secret}@{place}", f"{secret}@{place}"):
        assert not [half for half in ("Zq8w", "Kp3v") if half in shown(address)]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://me:pw@h:5/d?sslmode=require", "h:5/d"),
        ("postgresql+asyncpg://me:pw@/d?host=/run/s&port=1", "/run/s/d"),
        ("http://me:pw@h:1/x?y", "http://h:1/x"),
        ("redis://me:pw@[::1]:6/0", "[::1]:6/0"),
        ("redis://h:port", ""),
    ],
)
def test_the_place_is_shown(address: str, expected: str):
    """So that a person finds the service."""
    assert expected == shown(address)


@given(SECRETS)
def test_a_secret_is_masked_in_each_of_its_forms(secret: str):
    """As written, shown by a program, quoted for an address, and unquoted."""
    address = redis_address(f"redis://me:{secret}@h")
    said = " ".join([secret, repr(secret), repr(secret.encode()), address, *secrets_in(address)])

    masked = mask(said, [*secrets_in(f"redis://me:{secret}@h"), secret])
    assert not [half for half in ("Zq8w", "Kp3v") if half in masked]


def test_a_key_is_taken_without_the_end_of_its_line():
    """A file that holds a key ends in one."""
    assert "sk-1" == key(" sk-1\n")


@pytest.mark.parametrize("text", ["sk 1", "sk\n1", "ské"])
def test_a_broken_key_is_refused_unseen(text: str):
    """Half a key in an error is half a key told."""
    with pytest.raises(ValueError, match="copy it again") as found:
        key(text)

    assert "sk" not in str(found.value)
