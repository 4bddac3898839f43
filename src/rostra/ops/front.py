"""What stands before both ports: whether this configuration may be served, and with which certificate."""

import time
from pathlib import Path
from typing import Final

from rostra.kernel.errors import OperatorError
from rostra.ops.config import Config
from rostra.tls import protection
from rostra.tls.io import context
from rostra.tls.protection import Way

CERTIFICATE: Final = "certificate.pem"
"""What we obtained ourselves, under `<data>/tls`: key and chain in one file, so that both change in one instant."""


def certificate_files(config: Config) -> tuple[Path, Path | None]:
    """Where the certificate lies, and its key when that is another file."""
    told = config.protection
    if told.way is Way.FILES:
        return Path(told.certificate), Path(told.certificate_key) if told.certificate_key else None
    return config.data / "tls" / CERTIFICATE, None


def check(config: Config) -> None:
    """Raises OperatorError `bind.unprotected` or `tls.…` when this must not be served."""
    protection.check(config.protection, config.bind, config.public_url, config.studio_url)
    if config.protection.way is Way.FILES:
        files = certificate_files(config)
        context.make_context(*files)
        context.read(files[0])


def servable(certificate: Path, names: tuple[str, ...]) -> bool:
    """Whether there is a certificate that browsers would take for `names` now."""
    try:
        found = context.read(certificate)
        context.make_context(certificate, None)
    except OperatorError:
        return False
    return found.usable(names, time.time())


def notes(config: Config) -> list[str]:
    """What is allowed and may still surprise whoever started this, in a sentence each."""
    told = config.protection
    found = protection.notes(told, config.public_url, config.audience_port)
    certificate, _ = certificate_files(config)
    names = ", ".join(config.names)
    if told.way is Way.ACME and not servable(certificate, config.names):
        found.append(f"No certificate for {names} yet: both ports open once {told.acme_directory} has signed one.")
    if told.way is Way.FILES and not (read := context.read(certificate)).usable(config.names, time.time()):
        why = "is for other names than" if read.ends_s > time.time() else "has run out for"
        found.append(f"{certificate} {why} {names}: browsers will refuse it.")
    return found
