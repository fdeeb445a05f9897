"""Which machines git may reach: the public internet, and the networks that the administrator names.

A host is looked up here, all that it stands for is checked, and git is held to exactly that
(`http.curloptResolve`): a name server that answers otherwise a moment later gains nothing. Redirects and
alternates, which name another host, are off in `git`.

ssh cannot be held so: it looks the name up again, or finds another in its own configuration. All that a name
server could gain by that is ssh's banner and a check of host keys somewhere else. A proxy looks names up for
itself, and where it may go is its own administrator's business.
"""

import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.request import proxy_bypass

from runner.errors import Rejected, Unavailable
from runner.workspaces.names import Address, Host

Network = IPv4Network | IPv6Network
Lookup = Callable[[str], Sequence[str]]
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as RFC 6052 writes them for a translator, in their last four bytes."""


class PrivateAddress(Rejected):
    """A clone URL leads to an address that is neither public nor allowed."""


def lookup(host: str) -> Sequence[str]:
    """The addresses of a host, in whatever form it is written; none where nobody knows it."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return ()
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class Hosts:
    """`networks`: what may be reached besides public addresses; `environment` is git's, for its proxies."""

    def __init__(
        self, networks: Collection[Network], environment: Mapping[str, str], lookup: Lookup = lookup
    ) -> None:
        self._networks = networks
        self._proxies = {name.lower().removesuffix("_proxy"): value for name, value in environment.items()}
        self._lookup = lookup

    def check(self, repository: str, address: Address) -> None:
        """Raises `PrivateAddress`. A host that cannot be found now may be found when it is fetched from."""
        if address.host is not None:
            self._found(repository, address.host)

    def settings(self, repository: str, address: Address) -> Mapping[str, str]:
        """What git is given to speak with `address`.

        Raises `PrivateAddress`, and `Unavailable` where there is no such host.
        """
        host = address.host
        if host is None:
            return address.settings
        found = self._found(repository, host)
        if host.port is None:
            return address.settings
        if found:
            places = ",".join(f"[{place}]" if ":" in place else place for place in found)
            return {**address.settings, "http.curloptResolve": f"{host.name}:{host.port}:{places}"}
        if not self._proxied(host):
            raise Unavailable(f"{repository}: there is no host {host.name}, or no name server that knows it")
        return address.settings

    def way(self, repository: str, host: Host) -> tuple[Sequence[str], str]:
        """The addresses of a host, and the proxy to ask instead, empty for none. Errors as of `settings`."""
        found = self._found(repository, host)
        proxy = self._proxies[host.protocol] if self._proxied(host) else ""
        if not (found or proxy):
            raise Unavailable(f"{repository}: there is no host {host.name}, or no name server that knows it")
        return found, proxy

    def _found(self, repository: str, host: Host) -> Sequence[str]:
        found = self._lookup(host.name.strip("[]"))
        for place in found:
            address = _meant(ip_address(place))
            if not (_is_public(address) or any(address in network for network in self._networks)):
                raise PrivateAddress(
                    f"{repository}: the host {host.name} of its URL is at {place}, which is not public; "
                    f"where you trust it, allow it with RUNNER_GIT_NETWORKS={address}"
                )
        return found

    def _proxied(self, host: Host) -> bool:
        direct = proxy_bypass(host.name, {"no": self._proxies.get("no", "")})
        return bool(self._proxies.get(host.protocol)) and not direct


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, IPv6Address):
        if address in _TRANSLATED:
            return IPv4Address(address.packed[-4:])
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)
