"""Configuration: `rostra.toml` in the data directory, then `ROSTRA_*` in the environment, then the command line.

One frozen dataclass is what the rest of the program sees. Every key stands in `docs/3-operate/configuration.md`; a test
compares the two.
"""

import ipaddress
import json
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from rostra.kernel.errors import OperatorError
from rostra.kernel.io.files import replace, unwritable
from rostra.ops.confine import Mode
from rostra.stage import Options
from rostra.studio.ice import Servers, read_urls
from rostra.tls.protection import LETS_ENCRYPT, PLAIN, Protection, networks, origin

ADDRESSES = "addresses.json"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 — compared, not bound


class Keys(BaseSettings):
    """The keys as they may be written, with their bounds."""

    model_config = SettingsConfigDict(env_prefix="ROSTRA_", extra="forbid")

    studio_port: int = Field(8000, ge=0, le=65_535, description="Port of the studio: hosts, speakers, the API.")
    audience_port: int = Field(8001, ge=1, le=65_535, description="Port of the audience: pages and sound.")
    workers: int = Field(0, ge=0, le=256, description="Audience processes; 0 means one a core.")
    bind: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every network of the machine.")
    isolation: Mode = Field("auto", description="Whether processes give up rights: auto, required or off.")
    public_url: str = Field("", description="What the audience types, where that is not this machine's own address.")
    public_address: str = Field("", description="The stage's address on the internet, where a NAT stands before it.")
    udp_ports: str = Field("", description="UDP ports of the stage, such as 50000-50999; unset: any.")
    stun: str = Field("", description="STUN servers that speakers' browsers are told of.")
    turn: str = Field("", description="TURN servers that relay for speakers whose network blocks UDP.")
    turn_secret: SecretStr = Field(SecretStr(""), description="What the TURN servers share with Rostra.")
    studio_url: str = Field("", description="What hosts and speakers type, where it is not the audience's host.")
    terminators: int = Field(0, ge=0, le=256, description="TLS processes before the workers; 0 means one a core.")
    certificate: str = Field("", description="PEM file with the certificate and its chain, for both ports.")
    certificate_key: str = Field("", description="PEM file with its key, where that is another file.")
    acme_email: str = Field("", description="Obtain a certificate for the public address; this is the account's.")
    acme_directory: str = Field(LETS_ENCRYPT, description="The authority that signs it (RFC 8555).")
    acme_port: int = Field(80, ge=1, le=65_535, description="Where the authority's questions arrive (HTTP-01).")
    terminator: str = Field("", description="Addresses from which a proxy speaks that ends TLS before Rostra.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 — pydantic-settings passes it by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = cls.model_config.get("toml_file")
        return (init_settings, env_settings) + ((TomlConfigSettingsSource(settings_cls, file),) if file else ())


@dataclass(frozen=True, slots=True)
class Config:
    """How this installation is run. `data` is absolute."""

    data: Path
    studio_port: int = 8000
    audience_port: int = 8001
    workers: int = 1
    bind: str = "127.0.0.1"
    public_url: str = ""
    public_addresses: tuple[str, ...] = ()
    udp_ports: tuple[int, int] | None = None
    relays: Servers = field(default=Servers())
    isolation: Mode = "auto"
    studio_url: str = ""
    terminators: int = 1
    protection: Protection = PLAIN

    @property
    def audience_base(self) -> str:
        """What every printed audience address begins with; no slash at the end."""
        return self.public_url or origin(self.protection.scheme, _host(self.bind), self.audience_port)

    @property
    def studio_base(self) -> str:
        """The studio, on the same host and with the same scheme as the audience, on its own port, unless told."""
        if self.studio_url:
            return self.studio_url
        if not self.public_url:
            return origin(self.protection.scheme, _host(self.bind), self.studio_port)
        public = urlsplit(self.public_url)
        return origin(public.scheme, _bracketed(public.hostname or ""), self.studio_port)

    @property
    def loopback_only(self) -> bool:
        return self.bind in LOOPBACK

    @property
    def stage(self) -> Options:
        """How stages reach the network. Behind a terminator, speakers come from elsewhere though we bind to loopback;
        an address of this machine that was chosen to listen on is the only one that a stage offers too."""
        chosen = () if self.loopback_only or self.bind in EVERYWHERE else (self.bind,)
        return Options(
            loopback=self.loopback_only and not self.public_url,
            addresses=chosen,
            public_addresses=self.public_addresses,
            udp_ports=self.udp_ports,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a certificate is for: the audience's first, and the studio's where that is another."""
        return tuple(dict.fromkeys(urlsplit(url).hostname or "" for url in (self.audience_base, self.studio_base)))


def load(data: Path, **given: Any) -> Config:
    """The configuration for the data directory; `given` are command-line options, None where not used.

    Raises OperatorError `config.invalid`, naming the key.
    """
    data = data.expanduser().absolute()
    toml = data / "rostra.toml"
    source = type("KeysFromFile", (Keys,), {"model_config": Keys.model_config | {"toml_file": toml}})
    try:
        keys = source(**{name: value for name, value in given.items() if value is not None})
    except (ValidationError, ValueError) as error:
        raise OperatorError(
            "config.invalid", f"The configuration is not valid: {_first(error)}", f"See {toml}."
        ) from None
    public, studio = (_address(url) for url in (keys.public_url, keys.studio_url))
    cores = os.cpu_count() or 1
    return Config(
        data,
        keys.studio_port,
        keys.audience_port,
        keys.workers or cores,
        keys.bind,
        public,
        studio_url=studio,
        terminators=keys.terminators or cores,
        protection=_protection(keys, data),
        public_addresses=_public_addresses(keys.public_address),
        udp_ports=_udp_ports(keys.udp_ports),
        relays=_relays(keys),
        isolation=keys.isolation,
    )


def _address(url: str) -> str:
    url = url.rstrip("/")
    if url and urlsplit(url).scheme not in ("http", "https"):
        raise OperatorError(
            "config.invalid",
            f"“{url}” is not an address people can open.",
            "Write it as https://live.example.org.",
        )
    return url


def _relays(keys: Keys) -> Servers:
    servers = Servers(read_urls(keys.stun, "stun"), read_urls(keys.turn, "turn"), keys.turn_secret.get_secret_value())
    if servers.turn and not servers.secret:
        raise OperatorError(
            "config.invalid",
            "turn: a TURN server wants credentials, and turn_secret is not set.",
            "Set ROSTRA_TURN_SECRET to what the server has as static-auth-secret.",
        )
    return servers


def _public_addresses(text: str) -> tuple[str, ...]:
    found = []
    for word in re.split(r"[,\s]+", text.strip()):
        try:
            address = ipaddress.ip_address(word) if word else None
        except ValueError:
            raise _no_public_address(word) from None
        if address is not None:
            if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
                raise _no_public_address(word)
            found.append(address)
    if len({address.version for address in found}) < len(found):
        raise OperatorError(
            "config.invalid", "public_address: there is more than one of a kind.", "Give one IPv4 and one IPv6 address."
        )
    return tuple(str(address) for address in found)


def _no_public_address(word: str) -> OperatorError:
    return OperatorError(
        "config.invalid",
        f"public_address: “{word}” is not an address that others can send to.",
        "Write the IP address (not a name) that the internet has for this machine, such as 203.0.113.7.",
    )


def _udp_ports(text: str) -> tuple[int, int] | None:
    if not text.strip():
        return None
    found = re.fullmatch(r"\s*(\d{1,5})\s*-\s*(\d{1,5})\s*", text)
    first, last = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1024 <= first <= last <= 65_535:
        raise OperatorError(
            "config.invalid",
            f"udp_ports: “{text}” is not a range of ports from 1024 to 65535.",
            "Write --udp-ports 50000-50999.",
        )
    return first, last


def _protection(keys: Keys, data: Path) -> Protection:
    """Paths in the file are relative to the data directory, as the file is in it."""

    def path(text: str) -> str:
        return str(data / Path(text).expanduser()) if text else ""

    return Protection(
        path(keys.certificate),
        path(keys.certificate_key),
        keys.acme_email,
        keys.acme_directory,
        keys.acme_port,
        networks(keys.terminator),
    )


def remember(config: Config) -> None:
    """Keep the served addresses beside the data, so that commands on the same folder print the same ones."""
    bases = {"audience_base": config.audience_base, "studio_base": config.studio_base}
    try:
        replace(config.data / ADDRESSES, json.dumps(bases).encode())
    except OSError as error:
        raise unwritable(config.data, error) from None


def addresses(config: Config, public_url: str | None) -> tuple[str, str]:
    """The audience's and the studio's base as last served from this folder, unless `public_url` says otherwise."""
    path = config.data / ADDRESSES
    if public_url is None and path.exists():
        bases = json.loads(path.read_bytes())
        return bases["audience_base"], bases["studio_base"]
    return config.audience_base, config.studio_base


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}."
    return f"{error}."


def _host(bind: str) -> str:
    if bind in LOOPBACK:
        return "localhost"
    if bind in EVERYWHERE:
        return socket.gethostname()
    return _bracketed(bind)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
