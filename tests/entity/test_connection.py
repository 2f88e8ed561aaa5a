"""From a ClusterSpec to a Client of a real dev server, and what each way to fail is called."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from temporalio.converter import DataConverter
from temporalio.worker import Worker

from temporal_fleet.entity.connection import (
    ClusterTrouble,
    Endpoint,
    Refused,
    Unreachable,
    connect,
    endpoint,
    judge,
    load_data_converter,
)
from temporal_fleet.entity.references import ProgramError
from temporal_fleet.protocol.spec import ClusterSpec, TlsSpec
from tests.conftest import DevServer, free_port
from tests.entity.life_program import greet
from tests.entity.runtimes import for_clients
from tests.entity.servers import (
    Authority,
    KeyPair,
    served,
    silent_at_first,
    silent_server,
    tls_in_front_of,
    turning_away_with,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server_pair(authority: Authority) -> KeyPair:
    return authority.issue("cluster.test")


@pytest.fixture(scope="module")
def client_pair(authority: Authority) -> KeyPair:
    return authority.issue("worker.test")


def try_to_connect(cluster: ClusterSpec, timeout: float = 10.0) -> str:
    """Connect and ask something; the namespace that answered."""

    async def attempt() -> str:
        where = endpoint(cluster)
        client = await connect(where, for_clients(), identity="test", timeout=timeout)
        worker = Worker(client, task_queue="unused", activities=[greet], build_id="test")
        stopping = asyncio.create_task(worker.shutdown())
        try:
            await worker.run()
        except RuntimeError as error:
            trouble = judge(error, where)
            assert trouble is not None
            raise trouble from error
        finally:
            stopping.cancel()
        return client.namespace

    return asyncio.run(attempt())


def refusal(cluster: ClusterSpec, timeout: float = 10.0) -> str:
    with pytest.raises(Refused) as caught:
        try_to_connect(cluster, timeout)
    return one_line(caught.value)


def unreachable(cluster: ClusterSpec, timeout: float = 10.0) -> str:
    with pytest.raises(Unreachable) as caught:
        try_to_connect(cluster, timeout)
    return one_line(caught.value)


def one_line(trouble: ClusterTrouble) -> str:
    assert "\n" not in trouble.reason
    return trouble.reason


def test_address_and_namespace(dev_server: DevServer) -> None:
    assert try_to_connect(ClusterSpec(address=dev_server.address, namespace="default")) == "default"


def test_a_closed_port_is_unreachable() -> None:
    address = f"127.0.0.1:{free_port()}"
    assert unreachable(ClusterSpec(address=address)).startswith(
        f"no Cluster answers at {address}: Connection refused"
    )


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    assert "nowhere.invalid:7233" in unreachable(ClusterSpec(address="nowhere.invalid:7233"))


def test_silence_is_unreachable_after_a_time_of_our_own() -> None:
    with silent_server() as address:
        assert f"no answer from {address} within 0.3 s" in unreachable(ClusterSpec(address=address), 0.3)


def test_silence_where_tls_is_expected_is_unreachable() -> None:
    with silent_server() as address:
        assert "within 0.3 s" in unreachable(ClusterSpec(address=address, tls=TlsSpec()), 0.3)


def test_what_is_no_address_is_refused() -> None:
    assert "[cluster]" in refusal(ClusterSpec(address="localhost:seven"))


def test_a_namespace_that_is_not_there_is_refused(dev_server: DevServer) -> None:
    assert "has no namespace 'absent'" in refusal(ClusterSpec(address=dev_server.address, namespace="absent"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_gateway_that_turns_us_away_refuses(status: int) -> None:
    with served(turning_away_with(status)) as address:
        assert f"{address} refuses our credentials" in refusal(ClusterSpec(address=address))


@pytest.mark.parametrize("status", [404, 503])
def test_a_gateway_with_nothing_behind_it_is_unreachable(status: int) -> None:
    with served(turning_away_with(status)) as address:
        assert address in unreachable(ClusterSpec(address=address))


def test_an_api_key_is_never_sent_in_the_clear(dev_server: DevServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret-word\n")
    reason = refusal(ClusterSpec(address=dev_server.address, api_key_file=str(key)))
    assert "does not speak TLS" in reason
    assert "API key" in reason


@pytest.mark.parametrize("content", [b"", b"two words", b"secret-word\nanother", "kéy".encode()])
def test_a_file_that_holds_no_api_key_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    key = tmp_path / "key"
    key.write_bytes(content)
    with pytest.raises(Refused) as caught:
        endpoint(ClusterSpec(api_key_file=str(key)))
    assert str(key) in caught.value.reason
    assert "secret" not in caught.value.reason


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret-word\n")
    found = endpoint(ClusterSpec(api_key_file=str(key)))
    assert found.api_key == "secret-word"
    assert "secret" not in repr(found)


def test_files_that_cannot_be_read_are_refused_by_name() -> None:
    for spec, key in [
        (ClusterSpec(api_key_file="/absent"), "api_key_file"),
        (ClusterSpec(tls=TlsSpec(server_ca="/absent")), "server_ca"),
        (ClusterSpec(tls=TlsSpec(client_cert="/absent", client_key="/absent")), "client_cert"),
    ]:
        with pytest.raises(Refused) as caught:
            endpoint(spec)
        assert f'{key} = "/absent" cannot be read: No such file' in caught.value.reason


def test_tls_to_a_server_that_does_not_speak_it_is_refused(dev_server: DevServer) -> None:
    assert "does not speak TLS" in refusal(ClusterSpec(address=dev_server.address, tls=TlsSpec()))


TlsFront = Callable[..., contextlib.AbstractContextManager[str]]


@pytest.fixture
def tls_front(authority: Authority, server_pair: KeyPair, dev_server: DevServer) -> TlsFront:
    """TLS in front of the dev server."""

    def front(*, asks_for_certificates: bool = False) -> contextlib.AbstractContextManager[str]:
        context = authority.server_context(server_pair, asks_for_certificates=asks_for_certificates)
        return served(tls_in_front_of(dev_server.address, context))

    return front


def test_tls_with_a_ca_of_ones_own(tls_front: TlsFront, authority: Authority) -> None:
    with tls_front() as address:
        tls = TlsSpec(server_ca=str(authority.root.certificate), server_name="cluster.test")
        assert try_to_connect(ClusterSpec(address=address, tls=tls)) == "default"


def test_a_certificate_of_an_unknown_ca_is_refused(tls_front: TlsFront) -> None:
    with tls_front() as address:
        reason = refusal(ClusterSpec(address=address, tls=TlsSpec()))
        assert "UnknownIssuer" in reason
        assert "server_ca" in reason


def test_a_certificate_for_another_name_is_refused(tls_front: TlsFront, authority: Authority) -> None:
    with tls_front() as address:
        tls = TlsSpec(server_ca=str(authority.root.certificate))
        reason = refusal(ClusterSpec(address=address, tls=tls))
        assert "NotValidForName" in reason
        assert "server_name" in reason


def test_no_tls_to_a_server_that_wants_it_is_told_so(tls_front: TlsFront) -> None:
    with tls_front() as address:
        assert "must TLS be on?" in unreachable(ClusterSpec(address=address))


def test_mutual_tls(tls_front: TlsFront, authority: Authority, client_pair: KeyPair) -> None:
    with tls_front(asks_for_certificates=True) as address:
        tls = mutual(authority, client_pair)
        assert try_to_connect(ClusterSpec(address=address, tls=tls)) == "default"


def mutual(authority: Authority, pair: KeyPair) -> TlsSpec:
    return TlsSpec(
        server_ca=str(authority.root.certificate),
        server_name="cluster.test",
        client_cert=str(pair.certificate),
        client_key=str(pair.key),
    )


def test_a_missing_client_certificate_is_refused(tls_front: TlsFront, authority: Authority) -> None:
    with tls_front(asks_for_certificates=True) as address:
        tls = TlsSpec(server_ca=str(authority.root.certificate), server_name="cluster.test")
        reason = refusal(ClusterSpec(address=address, tls=tls))
        assert "CERTIFICATE_REQUIRED" in reason or "CertificateRequired" in reason
        assert "client_cert" in reason


def test_a_client_certificate_of_an_unknown_ca_is_refused(
    tls_front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path).issue("worker.test")
    with tls_front(asks_for_certificates=True) as address:
        reason = refusal(ClusterSpec(address=address, tls=mutual(authority, stranger)))
        assert "UNKNOWN_CA" in reason or "UnknownCA" in reason
        assert "client_cert" in reason


@pytest.mark.parametrize("shows_a_certificate", [True, False])
def test_why_nobody_answered_is_asked_for(
    authority: Authority,
    server_pair: KeyPair,
    dev_server: DevServer,
    tmp_path: Path,
    shows_a_certificate: bool,
) -> None:
    commented = tmp_path / "commented.pem"
    commented.write_text(f"# Főtanúsítvány\n{authority.root.certificate.read_text()}")
    tls = TlsSpec(server_ca=str(commented), server_name="cluster.test")
    if shows_a_certificate:
        stranger = Authority(tmp_path).issue("worker.test")
        tls = msgspec.structs.replace(
            tls, client_cert=str(stranger.certificate), client_key=str(stranger.key)
        )
    context = authority.server_context(server_pair, asks_for_certificates=True)
    with served(silent_at_first(tls_in_front_of(dev_server.address, context))) as address:
        reason = refusal(ClusterSpec(address=address, tls=tls), 4.0)
        assert ("UNKNOWN_CA" if shows_a_certificate else "CERTIFICATE_REQUIRED") in reason


def test_a_client_certificate_is_shown_to_nobody_else(
    authority: Authority, dev_server: DevServer, tmp_path: Path, client_pair: KeyPair
) -> None:
    imposter = Authority(tmp_path)
    context = imposter.server_context(imposter.issue("cluster.test"), asks_for_certificates=True)
    shown = []
    context.sni_callback = lambda *_: shown.append("greeted")
    with served(silent_at_first(tls_in_front_of(dev_server.address, context))) as address:
        assert "no answer" in unreachable(
            ClusterSpec(address=address, tls=mutual(authority, client_pair)), 4.0
        )
    assert shown, "nobody asked"


def test_what_is_no_key_is_refused(tls_front: TlsFront, authority: Authority, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("rubbish")
    with tls_front(asks_for_certificates=True) as address:
        tls = mutual(authority, KeyPair(rubbish, rubbish))
        assert "PEM" in refusal(ClusterSpec(address=address, tls=tls))


def test_a_pair_that_is_none_is_refused(
    tls_front: TlsFront, authority: Authority, client_pair: KeyPair, server_pair: KeyPair, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for certificate, key in [
        (client_pair.certificate, server_pair.key),
        (client_pair.key, client_pair.key),
        (broken, client_pair.key),
    ]:
        tls = mutual(authority, KeyPair(certificate, key))
        with tls_front(asks_for_certificates=True) as address:
            assert "client_key" in refusal(ClusterSpec(address=address, tls=tls))


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(Refused, match="both client_cert and client_key"):
        endpoint(ClusterSpec(tls=TlsSpec(client_cert="/absent")))


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "temporal.toml"
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(path))
    return path


def test_a_profile_gives_the_connection_and_the_keys_beside_it_win(
    config_file: Path, dev_server: DevServer
) -> None:
    config_file.write_text(f'[profile.prod]\naddress = "{dev_server.address}"\nnamespace = "absent"\n')
    assert "'absent'" in refusal(ClusterSpec(profile="prod"))
    assert try_to_connect(ClusterSpec(profile="prod", namespace="default")) == "default"
    elsewhere = f"127.0.0.1:{free_port()}"
    assert elsewhere in unreachable(ClusterSpec(profile="prod", address=elsewhere))


def test_a_profile_with_tls(
    config_file: Path, tls_front: TlsFront, authority: Authority, client_pair: KeyPair
) -> None:
    with tls_front(asks_for_certificates=True) as address:
        config_file.write_text(
            f'[profile.prod]\naddress = "{address}"\n[profile.prod.tls]\nserver_name = "cluster.test"\n'
            f'server_ca_cert_path = "{authority.root.certificate}"\n'
            f'client_cert_path = "{client_pair.certificate}"\nclient_key_path = "{client_pair.key}"\n'
        )
        assert try_to_connect(ClusterSpec(profile="prod")) == "default"


def test_a_profile_that_is_not_there_is_refused(config_file: Path) -> None:
    with pytest.raises(Refused, match='profile = "prod" cannot be loaded'):
        endpoint(ClusterSpec(profile="prod"))


def test_without_anything_it_is_the_local_default() -> None:
    assert endpoint(ClusterSpec()) == Endpoint(address="localhost:7233", namespace="default")


def own_converter() -> DataConverter:
    return instance


class OwnConverter(DataConverter):
    pass


instance = DataConverter()


def test_a_data_converter_is_an_instance_a_class_or_a_callable() -> None:
    assert load_data_converter(None) is DataConverter.default
    assert load_data_converter(f"{__name__}:instance") is instance
    assert load_data_converter(f"{__name__}:own_converter") is instance
    assert isinstance(load_data_converter(f"{__name__}:OwnConverter"), OwnConverter)


@pytest.mark.parametrize("name", ["absent", "one_line", "__name__"])
def test_what_is_no_data_converter_is_the_programs_fault(name: str) -> None:
    with pytest.raises((ProgramError, TypeError)):
        load_data_converter(f"{__name__}:{name}")


def test_other_errors_say_nothing_of_the_cluster() -> None:
    assert judge(RuntimeError("Cannot register twice"), Endpoint()) is None
    assert judge(ValueError("Failed client connect: no"), Endpoint()) is not None
