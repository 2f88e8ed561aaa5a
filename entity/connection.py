"""From a ClusterSpec to a connected Client, and from the SDK's errors to what they mean: nobody there, or
somebody who refuses.

Entities and the cluster agent connect by it. What either does about a failure is its own matter.
"""

import asyncio
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeNamespaceResponse
from temporalio.client import Client, Plugin
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfigProfile
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression, RPCError, TLSConfig

from temporal_fleet.entity.references import ProgramError, resolve, summary
from temporal_fleet.entity.tls_alert import tls_alert
from temporal_fleet.protocol.spec import ClusterSpec, TlsSpec

DEFAULT_ADDRESS = "localhost:7233"
DEFAULT_NAMESPACE = "default"
_HOSTS_PIDS = Path("pid:[4026531836]")
"""The first PID namespace of a kernel (PROC_PID_INIT_INO in its linux/proc_ns.h)."""


class ClusterTrouble(Exception):
    """Why there is no working connection. `reason` is one line: where, what, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unreachable(ClusterTrouble):
    """No Cluster answers there."""


class Throttled(Unreachable):
    """It answers, and has had enough for the moment."""


class Refused(ClusterTrouble):
    """The Cluster answers and refuses, or what is configured can never be accepted: waiting does not help,
    somebody has to change something, here or there."""


@dataclass(frozen=True)
class Endpoint:
    """Where to connect and what to show there: a ClusterSpec with its profile and files read."""

    address: str = DEFAULT_ADDRESS
    namespace: str = DEFAULT_NAMESPACE
    tls: bool | TLSConfig | None = field(default=None, repr=False)
    """None: the SDK's own rule, TLS where there is an API key."""
    api_key: str | None = field(default=None, repr=False)
    rpc_metadata: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def uses_tls(self) -> bool:
        return self.api_key is not None if self.tls is None else bool(self.tls)


def endpoint(cluster: ClusterSpec) -> Endpoint:
    """Read profile, certificates and API key. Raises Refused: a file or a profile that cannot be read."""
    found = _from_profile(cluster.profile) if cluster.profile is not None else Endpoint()
    if cluster.address is not None:
        found = replace(found, address=cluster.address)
    if cluster.namespace is not None:
        found = replace(found, namespace=cluster.namespace)
    if cluster.api_key_file is not None:
        found = replace(found, api_key=_read_api_key(cluster.api_key_file))
    if cluster.tls is not None:
        found = replace(found, tls=_read_tls(cluster.tls))
    return found


def secrets(where: Endpoint) -> list[str]:
    """What is shown there and must be seen nowhere else."""
    key = where.tls.client_private_key if isinstance(where.tls, TLSConfig) else None
    metadata = (value for value in where.rpc_metadata.values() if isinstance(value, str))
    told = {where.address, where.namespace}
    return [
        *([where.api_key] if where.api_key is not None else []),
        *([key.decode("utf-8", "replace")] if key is not None else []),
        *(value for value in metadata if value not in told),
    ]


def known_secrets(cluster: ClusterSpec) -> list[str]:
    """As far as its files can be read now."""
    try:
        return secrets(endpoint(cluster))
    except Refused:
        return []


def _nobody(_: Iterable[str]) -> None:
    """Where nothing is logged that could hold them."""


def identity(fleet: str, name: str) -> str:
    """How the Cluster sees this process. `name` must tell one life from the next: PIDs repeat, in a container
    soon, and what is done to a dead Worker is done to whoever has its identity.

    Containers begin with the same PIDs, and with the same lives, and may have the same host name: only chance
    tells theirs apart.
    """
    apart = "" if _counts_pids_with_the_host() else f"-{token_hex(3)}"
    return f"{fleet}/{name}@{socket.gethostname()}:{os.getpid()}{apart}"


def _counts_pids_with_the_host() -> bool:
    try:
        return Path("/proc/self/ns/pid").readlink() == _HOSTS_PIDS
    except OSError:
        return False


def name_here(identity: str, fleet: str) -> str | None:
    """The name in an identity; None where it is not of this fleet, or not of this host."""
    of_fleet, slash, rest = identity.partition("/")
    name, _, place = rest.partition("@")
    return name if slash and of_fleet == fleet and place.rpartition(":")[0] == socket.gethostname() else None


def load_data_converter(reference: str | None) -> DataConverter:
    """The converter that `module:attribute` names: an instance, a class, or a callable that makes one.

    Raises ProgramError when it is none, and whatever the callable raises.
    """
    if reference is None:
        return DataConverter.default
    found = resolve(reference, "data_converter")
    if not isinstance(found, DataConverter) and callable(found):
        found = found()
    if not isinstance(found, DataConverter):
        raise ProgramError(
            f'data_converter = "{reference}" gives a {type(found).__name__}; it must be or return a '
            "temporalio.converter.DataConverter"
        )
    return found


async def connect(
    where: Endpoint,
    runtime: Runtime,
    *,
    identity: str,
    timeout: float,
    data_converter: DataConverter = DataConverter.default,
    plugins: Sequence[Plugin] = (),
    learn: Callable[[Iterable[str]], None] = _nobody,
) -> Client:
    """`learn` is told the secrets before they are used.

    Raises Unreachable and Refused; what the plugins raise goes through.
    """
    learn(secrets(where))
    try:
        async with asyncio.timeout(timeout):
            return await Client.connect(
                where.address,
                namespace=where.namespace,
                api_key=where.api_key,
                tls=where.tls,
                rpc_metadata=where.rpc_metadata,
                data_converter=data_converter,
                plugins=plugins,
                identity=identity,
                runtime=runtime,
                connect_timeout=timedelta(seconds=timeout),
                grpc_compression=_compression(where.address),
            )
    except TimeoutError as error:
        alert = await tls_alert(where.address, where.tls, timeout / 4) if where.uses_tls else None
        if alert is not None:
            raise _our_side_of_tls(where, alert) from error
        raise Unreachable(
            f"no answer from {where.address} within {timeout:g} s; is it the address of a Temporal Cluster, "
            "and does a firewall drop the packets?"
        ) from error
    except ValueError as error:
        raise Refused(f"cannot connect to {where.address}: {error}; correct [cluster]") from error
    except RuntimeError as error:
        trouble = judge(error, where)
        if trouble is None:
            raise
        if isinstance(trouble, Unreachable) and where.uses_tls and _AFTER_CONNECTION in str(error):
            alert = await tls_alert(where.address, where.tls)
            trouble = trouble if alert is None else _our_side_of_tls(where, alert)
        raise trouble from error


async def namespace_id(client: Client, where: Endpoint, timeout: float) -> str:
    """Asked for as a Worker does at its start: only who is let in is told. Raises Unreachable and Refused."""
    try:
        answer: DescribeNamespaceResponse = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=where.namespace), timeout=timedelta(seconds=timeout)
        )
    except RPCError as error:
        raise judge(error, where) or error from error
    return answer.namespace_info.id


def _compression(address: str) -> GrpcCompression:
    """The SDK's default, but on the loopback nothing is gained for its 2.4 MiB in each entity and a fifth of
    the CPU time of its start."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return GrpcCompression.NONE if local else GrpcCompression.GZIP


_STATUS = re.compile(r'Status \{ code: (\w+), message: "((?:[^"\\]|\\.)*)"')
_DETAIL = re.compile(r'message: "((?:[^"\\]|\\.)*)"|error: "((?:[^"\\]|\\.)*)"')
_ALERT = re.compile(r"AlertReceived\((\w+)\)|received fatal alert: (\w+)")
_CONNECT = "Failed client connect: "
_NO_PAIR = ("ParseError", "NoCertificatesPresented", "InconsistentKeys", "(Transport, InvalidCertificate(")
"""What rustls says of certificate and key, each by itself or together."""
_HUNG_UP = ("transport error", "http2", "operation was canceled")
_AFTER_CONNECTION = "call error after connection"


def judge(error: BaseException, where: Endpoint) -> ClusterTrouble | None:
    """What an error of the SDK's (of connecting, of validating, of polling) says of the Cluster; None when it
    says nothing of it."""
    if isinstance(error, RPCError):
        return _of_status(error.status.name.replace("_", "").lower(), error.message, where)
    text = str(error)
    alert = _ALERT.search(text)
    if alert is not None:
        return _our_side_of_tls(where, alert[1] or alert[2])
    status = _STATUS.search(text)
    if status is not None:
        return _of_status(status[1].lower(), status[2], where)
    if not text.startswith(_CONNECT):
        return None
    if "InvalidContentType" in text:
        key = "; an API key turns it on" if where.api_key is not None else ""
        return Refused(
            f"{where.address} does not speak TLS, and [cluster] asks for it{key}; correct the address, or "
            "take away tls and api_key_file"
        )
    certificate = re.search(r"InvalidCertificate\((.*)\) \}", text)
    if certificate is not None:
        return Refused(
            f"the certificate of {where.address} is not to be trusted ({certificate[1]}); set [cluster.tls] "
            "server_ca to the CA that signed it, and server_name to the name that it carries"
        )
    if any(word in text for word in _NO_PAIR):
        return Refused(
            "[cluster.tls] holds what is no PEM certificate or key, or a key that is not the certificate's; "
            "correct client_cert, client_key and server_ca"
        )
    detail = _DETAIL.search(text)
    cause = (detail[1] or detail[2]) if detail else text.removeprefix(_CONNECT)
    return Unreachable(
        f"no Cluster answers at {where.address}: {cause}; is it running, and is the address right?"
    )


def _our_side_of_tls(where: Endpoint, alert: str) -> Refused:
    return Refused(
        f"{where.address} refuses our side of TLS ({alert}); set [cluster.tls] client_cert and client_key to "
        "a pair that it trusts, and server_name to a name that it serves"
    )


def _of_status(code: str, message: str, where: Endpoint) -> ClusterTrouble:
    match code:
        case "permissiondenied" | "unauthenticated":
            return Refused(
                f"{where.address} refuses our credentials for namespace {where.namespace}: {message}; check "
                "[cluster] api_key_file, tls and namespace"
            )
        case "notfound" | "invalidargument" if "namespace" in message.lower():
            return Refused(
                f"{where.address} has no namespace {where.namespace!r} ({message}); correct [cluster] "
                f"namespace, or create it: temporal operator namespace create -n {where.namespace} "
                f"--address {where.address}"
            )
        case "unimplemented":
            return Unreachable(
                f"what answers at {where.address} is no Temporal Cluster ({message}); correct the address"
            )
        case "invalidargument" | "failedprecondition" | "alreadyexists" | "outofrange":
            return Refused(f"{where.address} refuses what we ask for: {message}")
        case "unknown" | "internal" | "cancelled" if any(word in message for word in _HUNG_UP):
            other = "off" if where.uses_tls else "on"
            return Unreachable(
                f"{where.address} hangs up on us ({message}); is it a Temporal Cluster, and must TLS be "
                f"{other}?"
            )
        case _:
            kind = Throttled if code == "resourceexhausted" else Unreachable
            return kind(f"{where.address} does not serve us now ({code}: {message})")


def _from_profile(name: str) -> Endpoint:
    place = f'[cluster] profile = "{name}"'
    try:
        settings = ClientConfigProfile.load(name).to_client_connect_config()
    except OSError as error:
        raise Refused(
            f"{place}: cannot read {error.filename}: {error.strerror}; correct the profile"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise Refused(
            f"{place} cannot be loaded: {summary(error)}; see `temporal config list` and TEMPORAL_CONFIG_FILE"
        ) from error
    return Endpoint(
        address=settings.get("target_host") or DEFAULT_ADDRESS,
        namespace=settings.get("namespace") or DEFAULT_NAMESPACE,
        tls=settings.get("tls"),
        api_key=settings.get("api_key"),
        rpc_metadata=settings.get("rpc_metadata", {}),
    )


def _read_tls(tls: TlsSpec) -> TLSConfig:
    if (tls.client_cert is None) != (tls.client_key is None):
        raise Refused("[cluster.tls] needs both client_cert and client_key, or neither")
    return TLSConfig(
        server_root_ca_cert=_read_file(tls.server_ca, "[cluster.tls] server_ca"),
        domain=tls.server_name,
        client_cert=_read_file(tls.client_cert, "[cluster.tls] client_cert"),
        client_private_key=_read_file(tls.client_key, "[cluster.tls] client_key"),
    )


def _read_file(path: str | None, key: str) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Refused(
            f'{key} = "{path}" cannot be read: {error.strerror}; correct it, or its permissions'
        ) from error


def _read_api_key(path: str) -> str:
    key = "[cluster] api_key_file"
    content = _read_file(path, key) or b""
    try:
        api_key = content.decode("ascii").strip()
    except UnicodeDecodeError:
        api_key = ""
    # Never shown: not even the part that is wrong.
    if not api_key or not api_key.isprintable() or " " in api_key:
        raise Refused(f'{key} = "{path}" does not hold one API key and nothing else; correct the file')
    return api_key
