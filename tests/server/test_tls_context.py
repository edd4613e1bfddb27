"""Contexts from options: real files, right and wrong, and real handshakes in memory."""

from __future__ import annotations

import ssl
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which
from typing import Unpack

import pytest
import trustme
from support.certificates import Authority, Files, authority

from microweb.errors import ConfigurationError
from microweb.server import tls_context
from microweb.server.config import ServerConfig, ServerOptions
from microweb.server.tls_context import Contexts, make_contexts, tls_info

NOW = datetime.now(UTC)


def contexts_of(**options: Unpack[ServerOptions]) -> Contexts:
    return make_contexts(ServerConfig.from_options(options))


def complaint(**options: Unpack[ServerOptions]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        contexts_of(**options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shake_hands(
    contexts: Contexts, client: ssl.SSLContext, name: str | None = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return the client's and the server's side of a connection. Raises: ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = contexts.default.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(4):
        for side in (calling, serving):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return calling, serving


# --- files ----------------------------------------------------------------------------


def test_certificate_and_key(tmp_path: Path) -> None:
    contexts = contexts_of(**authority().issue(tmp_path).options())
    calling, serving = shake_hands(contexts, authority().client())
    assert calling.version() == "TLSv1.3"
    info = tls_info(serving)
    assert (info.version, info.server_name, info.client) == ("1.3", "localhost", None)
    assert info.cipher.startswith("TLS_")
    assert contexts.notes == []


def test_key_in_the_file_of_the_certificate(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(Path(files.certificate).read_text() + Path(files.key).read_text())
    contexts = contexts_of(tls_certificate=(str(both),))
    assert shake_hands(contexts, authority().client())[0].version() == "TLSv1.3"


@pytest.mark.parametrize("kind", ["certificate", "key"])
def test_file_that_is_missing(tmp_path: Path, kind: str) -> None:
    files = authority().issue(tmp_path)
    wrong = files._replace(**{kind: str(tmp_path / "no.pem")})
    expected = f"tls_{kind}: can't read {str(tmp_path / 'no.pem')!r:.80}: No such file or directory"
    assert complaint(**wrong.options()) == expected


@pytest.mark.parametrize("kind", ["certificate", "key"])
def test_file_that_is_removed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    files = authority().issue(tmp_path)
    check = tls_context._check_file

    def check_and_remove(option: str, name: str, mark: bytes, expected: str) -> None:
        check(option, name, mark, expected)
        if name == getattr(files, kind):
            Path(name).unlink()

    monkeypatch.setattr(tls_context, "_check_file", check_and_remove)
    assert complaint(**files.options()).endswith("No such file or directory")


def test_directory_in_place_of_a_file(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)._replace(key=str(tmp_path))
    assert complaint(**files.options()).endswith("Is a directory")


def test_files_of_the_wrong_kind(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    swapped = Files(files.key, files.certificate)
    assert "tls_certificate: expected a certificate in PEM" in complaint(**swapped.options())
    twice = Files(files.certificate, files.certificate)
    for options in (twice.options(), {"tls_certificate": (files.certificate,)}):
        assert complaint(**options) == (
            f"tls_key (--tls-key): name the private key of {files.certificate!r}, or put the key "
            "into that file"
        )


@pytest.mark.parametrize("key_type", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
def test_pair_that_does_not_match(tmp_path: Path, key_type: trustme.KeyType) -> None:
    files = authority().issue(tmp_path)
    other = authority().issue(tmp_path, stem="other", key_type=key_type)
    text = complaint(**files._replace(key=other.key).options())
    assert text.endswith(f"{other.key}: the certificate and the key do not match")


def test_truncated_files(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    for path in map(Path, files):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 4])
        assert complaint(**files.options()).endswith("it is damaged")
        path.write_bytes(whole)


@pytest.mark.skipif(which("openssl") is None, reason="needs openssl")
def test_key_with_a_passphrase_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    locked = files._replace(key=str(tmp_path / "locked.key"))
    command = ["openssl", "pkey", "-in", files.key, "-aes128", "-passout", "pass:x"]
    subprocess.run([*command, "-out", locked.key], check=True, capture_output=True)
    text = complaint(**locked.options())
    assert text.startswith(f"tls_key: {locked.key!r:.80} has a passphrase")
    assert "openssl pkey -in KEY -out PLAIN_KEY" in text


@pytest.mark.parametrize(
    ("begins", "ends", "note"),
    [(-10, -1, "has expired on"), (1, 10, "begins on")],
)
def test_certificate_of_another_time_is_noted(
    tmp_path: Path, begins: int, ends: int, note: str
) -> None:
    first, last = NOW + timedelta(days=begins), NOW + timedelta(days=ends)
    files = authority().issue(tmp_path, not_before=first, not_after=last)
    (found,) = contexts_of(**files.options()).notes
    assert found.startswith(f"the certificate {files.certificate} {note} 20")


# --- options --------------------------------------------------------------------------


def test_options_that_do_not_fit_together(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    named = f"tls_certificate (--tls-certificate): name the certificate of {files.key!r:.80}"
    assert complaint(tls_key=(files.key,)) == named
    alone = complaint(tls_client="required", tls_client_ca=("a",))
    assert alone == "tls_certificate (--tls-certificate): name the server's own certificate"
    assert complaint(tls_certificate=("a", "b"), tls_key=("c",)) == (
        "tls_key (--tls-key): expected 2 keys, one for each certificate, got 1"
    )
    both = "tls_client: expected 'optional' or 'required' together with tls_client_ca"
    assert complaint(**files.options(), tls_client="required").startswith(both)
    assert complaint(**files.options(), tls_client_ca=("ca.pem",)).startswith(both)


def test_file_of_authorities_that_is_wrong(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    options = files.options() | ServerOptions(tls_client="required")
    assert complaint(**options, tls_client_ca=(files.key,)).startswith(
        "tls_client_ca: expected a certificate in PEM"
    )
    assert "tls_client_ca: can't read" in complaint(**options, tls_client_ca=("no.pem",))


# --- handshakes -----------------------------------------------------------------------


def served_names(calling: ssl.SSLObject) -> set[str]:
    certificate = calling.getpeercert()
    assert certificate is not None
    names = certificate["subjectAltName"]
    return {str(pair[1]) for pair in names}


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("a.example.org", "a.example.org"),
        ("A.Example.ORG", "a.example.org"),
        ("b.example.org", "b.example.org"),
        ("x.wild.example.org", "*.wild.example.org"),
        ("a.wild.example.org", "*.wild.example.org"),
    ],
)
def test_server_name_chooses_the_certificate(tmp_path: Path, asked: str, served: str) -> None:
    names = ["a.example.org", "b.example.org", "*.wild.example.org"]
    issued = [authority().issue(tmp_path, each, stem=str(i)) for i, each in enumerate(names)]
    contexts = contexts_of(
        tls_certificate=tuple(each.certificate for each in issued),
        tls_key=tuple(each.key for each in issued),
    )
    calling, serving = shake_hands(contexts, authority().client(), asked)
    assert served_names(calling) == {served}
    assert tls_info(serving).server_name == asked.lower()


@pytest.mark.parametrize("asked", ["other.example.org", "deep.x.wild.example.org", None])
def test_other_names_get_the_first_certificate(tmp_path: Path, asked: str | None) -> None:
    first = authority().issue(tmp_path, "a.example.org", stem="a")
    wild = authority().issue(tmp_path, "*.wild.example.org", stem="wild")
    contexts = contexts_of(
        tls_certificate=(first.certificate, wild.certificate), tls_key=(first.key, wild.key)
    )
    client = authority().client()
    client.check_hostname = False
    calling, serving = shake_hands(contexts, client, asked)
    assert served_names(calling) == {"a.example.org"}
    assert tls_info(serving).server_name == asked


def mutual(tmp_path: Path, policy: str) -> Contexts:
    """Return contexts of two names that ask for the certificates of clients."""
    first = authority().issue(tmp_path, "a.example.org", stem="a")
    second = authority().issue(tmp_path, "b.example.org", stem="b")
    return contexts_of(
        tls_certificate=(first.certificate, second.certificate),
        tls_key=(first.key, second.key),
        tls_client_ca=(authority().write(tmp_path),),
        tls_client=policy,  # type: ignore[typeddict-item]
    )


@pytest.mark.parametrize("name", ["a.example.org", "b.example.org"])
@pytest.mark.parametrize("policy", ["optional", "required"])
def test_certificate_of_a_client(tmp_path: Path, policy: str, name: str) -> None:
    """Also for the second name: a context that is chosen by name has the same policy."""
    own = authority().issue(tmp_path, "ann@example.org", stem="ann", common_name="ann")
    _, serving = shake_hands(mutual(tmp_path, policy), authority().client(own), name)
    client = tls_info(serving).client
    assert client is not None
    assert client.common_name == "ann"
    assert client.subject.startswith("CN=ann,OU=")
    assert client.names == (("email", "ann@example.org"),)
    assert client.not_before < NOW < client.not_after
    assert ssl.DER_cert_to_PEM_cert(client.der) in Path(own.certificate).read_text()


@pytest.mark.parametrize("name", ["a.example.org", "b.example.org"])
def test_client_without_a_certificate(tmp_path: Path, name: str) -> None:
    _, serving = shake_hands(mutual(tmp_path, "optional"), authority().client(), name)
    assert tls_info(serving).client is None
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(mutual(tmp_path, "required"), authority().client(), name)


@pytest.mark.parametrize("name", ["a.example.org", "b.example.org"])
@pytest.mark.parametrize("policy", ["optional", "required"])
def test_client_of_another_authority(tmp_path: Path, policy: str, name: str) -> None:
    stranger = Authority().issue(tmp_path, "eve@example.org", stem="eve", common_name="eve")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(mutual(tmp_path, policy), authority().client(stranger), name)


def test_minimum_version(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    old = authority().client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    calling, serving = shake_hands(contexts_of(**files.options()), old)
    assert calling.version() == "TLSv1.2"
    assert tls_info(serving).version == "1.2"
    with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION"):
        shake_hands(contexts_of(**files.options(), tls_minimum="1.3"), old)


def test_ciphers_have_ephemeral_keys_and_authentication(tmp_path: Path) -> None:
    context = contexts_of(**authority().issue(tmp_path).options()).default
    for cipher in context.get_ciphers():
        is_new = cipher["protocol"] == "TLSv1.3"
        assert is_new or cipher["name"].startswith("ECDHE-")
        assert cipher["aead"]


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"])
def test_old_cipher_is_refused(tmp_path: Path, cipher: str) -> None:
    old = authority().client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers(cipher)
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        shake_hands(contexts_of(**authority().issue(tmp_path).options()), old)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)]
)
def test_application_protocol(tmp_path: Path, offered: list[str], chosen: str | None) -> None:
    client = authority().client()
    if offered:
        client.set_alpn_protocols(offered)
    contexts = contexts_of(**authority().issue(tmp_path).options())
    assert shake_hands(contexts, client)[0].selected_alpn_protocol() == chosen
