"""A mail server that keeps what it is given."""

from tokenopen.ports.mail import MailAway, Message


class FakeMail:
    """The Mail port; ``is_away`` has it take nothing."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.is_away = False

    async def send(self, message: Message) -> None:
        if self.is_away:
            raise MailAway("mail.example.com:465: ConnectionRefusedError")
        self.sent.append(message)
