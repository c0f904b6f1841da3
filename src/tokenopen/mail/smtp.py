"""SMTP: mails are handed to the operator's mail server, each over a connection of its own.

    smtps://user:password@mail.example.com          TLS from the first byte; port 465
    smtp://user:password@mail.example.com           STARTTLS, required; port 587
    smtp://relay.example.com                        STARTTLS where it is offered; port 25
    smtp://localhost                                in the clear, on this machine; port 25

Away, or unwilling to take a mail: MailAway, within seconds. A password is never sent in the clear, except
to this machine itself.
"""

import asyncio
import smtplib
import ssl
from concurrent.futures import ThreadPoolExecutor
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr
from typing import Final
from urllib.parse import unquote, urlsplit

import certifi

from tokenopen.core.site import is_loopback
from tokenopen.ports.mail import MailAway, Message

_TIMEOUT_S: Final = 15
_THREADS: Final = 2
_PORT_TLS: Final = 465
_PORT_SUBMISSION: Final = 587
_PORT_RELAY: Final = 25


class SmtpMail:
    """The Mail port over SMTP (RFC 5321, RFC 3207). ``url`` and ``sender`` have been checked by settings."""

    def __init__(self, *, url: str, sender: str, trusted: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        assert parts.scheme in ("smtp", "smtps"), "settings let no other scheme pass"
        self._is_tls = parts.scheme == "smtps"
        self._host = parts.hostname or ""
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._is_here = is_loopback(self._host)
        self._port = parts.port or self._usual_port()
        self._sender = sender
        self._trusted = trusted or ssl.create_default_context(cafile=certifi.where())
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mail")

    def _usual_port(self) -> int:
        if self._is_tls:
            return _PORT_TLS
        return _PORT_SUBMISSION if self._user else _PORT_RELAY

    async def send(self, message: Message) -> None:
        """Hand a mail over for delivery. Raises MailAway."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._send, message)

    def close(self) -> None:
        """Let go of the threads; mails that are under way are still handed over."""
        self._threads.shutdown(wait=False)

    def _send(self, message: Message) -> None:
        try:
            mail = self._compose(message)
            with self._connect() as server:
                server.send_message(mail)
        except (OSError, smtplib.SMTPException, MessageError, ValueError) as error:
            # Its text may repeat what was sent, so only its kind and the server's number are told.
            code = getattr(error, "smtp_code", None)
            raise MailAway(
                f"{self._host}:{self._port}: {type(error).__name__} {code or ''}".strip()
            ) from None

    def _connect(self) -> smtplib.SMTP:
        if self._is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=_TIMEOUT_S, context=self._trusted
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            self._prepare(server)
        except BaseException:
            server.close()
            raise
        return server

    def _prepare(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        if not self._is_tls and not self._is_here:
            if server.has_extn("starttls"):
                server.starttls(context=self._trusted)
                server.ehlo()
            elif self._user:
                raise smtplib.SMTPNotSupportedError("no STARTTLS")
        if self._user:
            server.login(self._user, self._password)

    def _compose(self, message: Message) -> EmailMessage:
        # The policy refuses line breaks in headers, so nothing that was typed can add one.
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._sender
        mail["To"] = Address(addr_spec=message.to)
        mail["Subject"] = message.subject
        mail["Date"] = formatdate()
        mail["Message-ID"] = make_msgid(domain=parseaddr(self._sender)[1].rsplit("@", 1)[-1])
        # RFC 3834: holiday notices and the like do not answer to it.
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail
