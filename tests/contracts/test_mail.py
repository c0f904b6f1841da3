"""What the adapter of the Mail port promises, before a real SMTP server."""

import smtplib
import ssl
from pathlib import Path

import pytest

from tests.mail.smtp_server import SmtpServer, running
from tests.upstream.certificates import Authority
from tokenopen.mail import smtp
from tokenopen.mail.smtp import SmtpMail
from tokenopen.ports.mail import MailAway, Message

MESSAGE = Message(
    to="ada@example.com",
    subject="Größer: choose a new password",
    text="Hello Ada,\n\n.a line with a dot\nhttps://console.example.com/new-password/" + "x" * 120 + "\n",
)
SENDER = "TokenOpen <console@example.com>"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine count as another one, to which nothing secret is sent in the clear."""
    monkeypatch.setattr(smtp, "is_loopback", lambda _name: False)


def mail_to(
    server: SmtpServer, *, scheme: str = "smtp", user: str = "", trusted: ssl.SSLContext | None = None
) -> SmtpMail:
    return SmtpMail(url=f"{scheme}://{user}127.0.0.1:{server.port}", sender=SENDER, trusted=trusted)


async def test_a_mail_arrives_as_it_was_written() -> None:
    async with running(SmtpServer()) as server:
        await mail_to(server).send(MESSAGE)
    [mail] = server.mails
    assert server.recipients == ["ada@example.com"]
    assert (mail["From"], mail["To"], mail["Subject"]) == (SENDER, "ada@example.com", MESSAGE.subject)
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == MESSAGE.text
    assert mail["Date"]
    assert mail["Message-ID"].endswith("@example.com>")
    assert mail["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("field", ["to", "subject"])
async def test_nothing_that_was_typed_adds_a_header_or_a_recipient(field: str) -> None:
    injected = "ada@example.com\r\nBcc: eve@example.net"
    message = Message(
        to=injected if field == "to" else MESSAGE.to,
        subject=injected if field == "subject" else MESSAGE.subject,
        text="x",
    )
    async with running(SmtpServer()) as server:
        with pytest.raises(MailAway):
            await mail_to(server).send(message)
    assert server.mails == []
    assert server.recipients == []


async def test_tls_from_the_first_byte_and_a_password(authority: Authority) -> None:
    server = SmtpServer(user="console@example.com", password="p:ss/w@rd")
    async with running(server, tls=authority.server_context("127.0.0.1")):
        mail = mail_to(
            server,
            scheme="smtps",
            user="console%40example.com:p%3Ass%2Fw%40rd@",
            trusted=authority.client_context(),
        )
        await mail.send(MESSAGE)
    assert len(server.mails) == 1
    assert server.in_the_clear == []


@pytest.mark.usefixtures("elsewhere")
async def test_starttls_comes_before_the_password_and_the_mail(authority: Authority) -> None:
    server = SmtpServer(user="console", password="pass-word", starttls=authority.server_context("127.0.0.1"))
    async with running(server):
        await mail_to(server, user="console:pass-word@", trusted=authority.client_context()).send(MESSAGE)
    assert len(server.mails) == 1
    assert [line.split(" ")[0] for line in server.in_the_clear] == ["ehlo", "STARTTLS"]


@pytest.mark.usefixtures("elsewhere")
async def test_a_password_is_never_sent_in_the_clear() -> None:
    server = SmtpServer(user="console", password="pass-word")
    async with running(server):
        with pytest.raises(MailAway):
            await mail_to(server, user="console:pass-word@").send(MESSAGE)
    assert not any(line.upper().startswith("AUTH") for line in server.in_the_clear)
    assert server.mails == []


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_that_nobody_vouches_for_is_given_nothing(authority: Authority, scheme: str) -> None:
    context = authority.server_context("127.0.0.1")
    server = SmtpServer(starttls=context)
    async with running(server, tls=context if scheme == "smtps" else None):
        with pytest.raises(MailAway, match="SSLCertVerificationError"):
            await mail_to(server, scheme=scheme).send(MESSAGE)
    assert server.mails == []


async def test_a_wrong_password_is_told_to_the_operator_without_it() -> None:
    server = SmtpServer(user="console", password="right-one")
    async with running(server):
        with pytest.raises(MailAway, match="SMTPAuthenticationError 535") as caught:
            await mail_to(server, user="console:wrong-one@").send(MESSAGE)
    assert "wrong-one" not in str(caught.value)


async def test_a_recipient_that_is_refused_is_told_without_their_address() -> None:
    async with running(SmtpServer(refuse_recipients=True)) as server:
        with pytest.raises(MailAway) as caught:
            await mail_to(server).send(MESSAGE)
    assert "ada" not in str(caught.value)


async def test_a_server_that_is_away_is_told_with_its_address() -> None:
    mail = SmtpMail(url="smtp://127.0.0.1:1", sender=SENDER)
    with pytest.raises(MailAway, match=r"127\.0\.0\.1:1: ConnectionRefusedError"):
        await mail.send(MESSAGE)


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "_TIMEOUT_S", 0.2)
    async with running(SmtpServer(is_silent=True)) as server:
        with pytest.raises(MailAway, match="SMTPServerDisconnected"):
            await mail_to(server).send(MESSAGE)


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("smtps://user:pw@mail.example.com", 465),
        ("smtp://user:pw@mail.example.com", 587),
        ("smtp://mail.example.com", 25),
        ("smtp://mail.example.com:2525", 2525),
    ],
)
async def test_the_usual_ports(url: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def refuse(host: str, port: int, **_options: object) -> None:
        asked.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(smtplib, "SMTP", refuse)
    monkeypatch.setattr(smtplib, "SMTP_SSL", refuse)
    with pytest.raises(MailAway):
        await SmtpMail(url=url, sender=SENDER).send(MESSAGE)
    assert asked == [("mail.example.com", port)]
