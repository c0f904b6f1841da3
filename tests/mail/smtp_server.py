"""A little SMTP server (RFC 5321) that keeps the mails that it takes."""

import asyncio
import base64
import email
import email.policy
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage


@dataclass(slots=True, kw_only=True)
class SmtpServer:
    """What it was asked and given. ``starttls`` is offered where there is a context for it."""

    starttls: ssl.SSLContext | None = None
    user: str = ""
    password: str = ""
    refuse_recipients: bool = False
    is_silent: bool = False
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    # Every line that arrived in the clear.
    in_the_clear: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk with one client."""
        if self.is_silent:
            await reader.read()
            writer.close()
            return
        encrypted = writer.get_extra_info("sslcontext") is not None
        writer.write(b"220 mail.example.com\r\n")
        while line := await reader.readline():
            text = line.decode().rstrip()
            if not encrypted:
                self.in_the_clear.append(text)
            command = text.split(" ")[0].upper()
            if command == "STARTTLS":
                assert self.starttls is not None
                writer.write(b"220 go ahead\r\n")
                await writer.drain()
                try:
                    await writer.start_tls(self.starttls)
                except (ssl.SSLError, ConnectionError):
                    return
                encrypted = True
            elif command == "DATA":
                writer.write(b"354 go ahead\r\n")
                await self._take(reader)
                writer.write(b"250 taken\r\n")
            elif command == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(self._answer(command, text, encrypted))
        writer.close()

    def _answer(self, command: str, text: str, encrypted: bool) -> bytes:
        if command == "EHLO":
            offers = ["mail.example.com"]
            offers += ["STARTTLS"] if self.starttls is not None and not encrypted else []
            offers += ["AUTH PLAIN"] if self.user else []
            lines = [f"250{'-' if offer != offers[-1] else ' '}{offer}\r\n" for offer in offers]
            return "".join(lines).encode()
        if command == "AUTH":
            given = base64.b64decode(text.split(" ")[2]).decode().split("\0")[1:]
            return b"235 welcome\r\n" if given == [self.user, self.password] else b"535 who are you\r\n"
        if command == "RCPT":
            if self.refuse_recipients:
                return b"550 no such mailbox\r\n"
            self.recipients.append(text.partition(":")[2].strip("<>"))
        return b"250 ok\r\n"

    async def _take(self, reader: asyncio.StreamReader) -> None:
        lines = []
        while (line := await reader.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        self.mails.append(mail)


@asynccontextmanager
async def running(server: SmtpServer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[SmtpServer]:
    """Serve on a free port of this machine meanwhile; with ``tls`` encrypted from the first byte."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
