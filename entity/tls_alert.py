"""Why the other side of a TLS connection refuses ours: the alert that it sends after the handshake, which the
SDK often loses, and once waited for until our time-out. So it is asked for again, once connecting has failed.

What an alert means to a reader is in connection.
"""

import asyncio
import os
import ssl

from temporalio.service import TLSConfig

_PATIENCE = 2.0
"""Seconds for a TLS handshake, and what comes at once after it."""


async def tls_alert(address: str, tls: bool | TLSConfig | None, within: float = _PATIENCE) -> str | None:
    """None: there is none, or not within so many seconds (two at most). Never raises."""
    tls = tls if isinstance(tls, TLSConfig) else TLSConfig()
    host, _, port = address.rpartition(":")
    try:
        context = _context(tls)
        async with asyncio.timeout(min(within, _PATIENCE)):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=context, server_hostname=tls.domain or host.strip("[]")
            )
            try:
                await reader.read(1)
            finally:
                writer.transport.abort()
    except ssl.SSLError as error:
        return error.reason if error.reason and "ALERT" in error.reason else None
    except (OSError, ValueError, TimeoutError):
        return None
    return None


def _context(tls: TLSConfig) -> ssl.SSLContext:
    """Raises ssl.SSLError, and ValueError where there is no certificate in what should have one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    authority = tls.server_root_ca_cert
    if tls.client_cert is None or tls.client_private_key is None:
        # Nothing is shown, and so it does not matter to whom.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    # Whom the SDK trusts, and nobody else, is shown the client's certificate. Its trust may begin at an
    # authority that is no root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if authority is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authority.decode("ascii", "ignore"))
    _load_pair(context, tls.client_cert, tls.client_private_key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # Python reads certificates from files alone, and the key of a profile may stand in no file.
    descriptor = os.memfd_create("client-certificate")
    try:
        os.write(descriptor, certificate + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
