"""Offered: every translation. A new one is a line here; it is used where no provider of a model speaks the
surface that was called."""

from collections.abc import Sequence
from typing import Final

from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.translation.chat_reply import (
    ChatEventWriter,
    write_chat_rejection,
    write_chat_reply,
)
from tokenopen.upstream.translation.chat_request import carry_chat_request
from tokenopen.upstream.translation.messages_reply import (
    MessagesEventWriter,
    write_messages_rejection,
    write_messages_reply,
)
from tokenopen.upstream.translation.messages_request import carry_messages_request
from tokenopen.upstream.translation.translation import Translation

TRANSLATIONS: Final[Sequence[Translation]] = (
    Translation(
        spoken=ChatSurface.name,
        wire=MessagesSurface(),
        carry=carry_chat_request,
        write_reply=write_chat_reply,
        write_rejection=write_chat_rejection,
        event_writer=ChatEventWriter,
    ),
    Translation(
        spoken=MessagesSurface.name,
        wire=ChatSurface(),
        carry=carry_messages_request,
        write_reply=write_messages_reply,
        write_rejection=write_messages_rejection,
        event_writer=MessagesEventWriter,
    ),
)
