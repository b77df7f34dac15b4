"""Every foreign exception on the way to a site and back, translated once."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Final

import urllib3.exceptions as urllib3

from app.errors import FetchError
from app.fetching.coding import BROKEN

# What may come up from the libraries below. ValueError: http.client and urllib3 let some parsing errors through
# (UnicodeError is one).
FOREIGN: Final = (OSError, http.client.HTTPException, urllib3.HTTPError, ValueError, *BROKEN)

NO_SUCH_NAME: Final = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

# What a person can do something about, in our own words: OpenSSL's name hosts and files.
_CERTIFICATE: Final = {  # by X509_V_ERR_…
    9: "the host's TLS certificate is not valid yet",
    10: "the host's TLS certificate has expired",
    18: "the host's TLS certificate is self-signed",
    19: "the host's TLS certificate comes from an authority that is not trusted",
    20: "the host's TLS certificate comes from an authority that is not trusted, or an intermediate one is missing",
    21: "the host's TLS certificate comes from an authority that is not trusted, or an intermediate one is missing",
    62: "the host's TLS certificate is for another name",
    64: "the host's TLS certificate is for another address",
}
_HANDSHAKE: Final = {
    "TLSV1_ALERT_PROTOCOL_VERSION": "the host speaks no TLS newer than 1.1",
    "UNSUPPORTED_PROTOCOL": "the host speaks no TLS newer than 1.1",
    "WRONG_VERSION_NUMBER": "the host does not speak TLS on this port",
    "HTTP_REQUEST": "the host does not speak TLS on this port",
}

# First match wins. A pair is (while connecting, later).
_CODES: Final[tuple[tuple[tuple[type[Exception], ...], tuple[str, str]], ...]] = (
    ((ssl.SSLCertVerificationError,), ("tls_failed", "tls_failed")),
    ((ssl.SSLError, urllib3.SSLError), ("tls_failed", "reset")),
    ((ConnectionRefusedError,), ("connect_refused", "reset")),
    ((urllib3.NameResolutionError,), ("dns_not_found", "dns_not_found")),
    ((urllib3.NewConnectionError,), ("connect_failed", "connect_failed")),
    ((urllib3.ConnectTimeoutError,), ("connect_timeout", "connect_timeout")),
    ((TimeoutError, urllib3.TimeoutError), ("connect_timeout", "timeout")),
    ((ConnectionError,), ("reset", "reset")),  # http.client's RemoteDisconnected is one too
    ((OSError,), ("connect_failed", "reset")),
    ((http.client.LineTooLong,), ("headers_too_large", "headers_too_large")),
    ((urllib3.DecodeError, *BROKEN), ("bad_encoding", "bad_encoding")),
    ((urllib3.LocationValueError,), ("blocked_url", "blocked_url")),
    (
        (http.client.HTTPException, urllib3.HTTPError, ValueError),
        ("bad_response", "bad_response"),
    ),
)


def translate(error: Exception, *, connecting: bool = False) -> FetchError:
    """The typed outcome of a foreign exception. Its text is the catalogue's: what a library or a server says may
    name internal addresses.

    >>> translate(ConnectionResetError("10.0.0.1")).code
    'reset'
    """
    if isinstance(error, FetchError):
        return error
    if isinstance(error, socket.gaierror):
        return translate_dns(error)
    if isinstance(error, urllib3.ProtocolError) and isinstance(error.__cause__, FOREIGN):
        return translate(error.__cause__, connecting=connecting)  # urllib3's wrapping of what it met
    if type(error) is http.client.HTTPException:  # "got more than 100 headers"
        return FetchError("headers_too_large")
    for types, codes in _CODES:
        if isinstance(error, types):
            code = codes[0] if connecting else codes[1]
            return FetchError(code, _tls_detail(error) if code == "tls_failed" else None)
    raise TypeError(f"{type(error).__name__} is not foreign") from error


def _tls_detail(error: Exception) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(getattr(error, "verify_code", 0))
    return _HANDSHAKE.get(str(getattr(error, "reason", "")))


def translate_dns(error: OSError | UnicodeError) -> FetchError:
    """What the system's resolver raises, as one of ours."""
    if isinstance(error, socket.gaierror) and error.errno in NO_SUCH_NAME:
        return FetchError("dns_not_found")
    return FetchError("dns_not_found" if isinstance(error, UnicodeError) else "dns_timeout")
