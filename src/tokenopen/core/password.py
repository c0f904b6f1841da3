"""Password rules, after NIST SP 800-63B: length, no composition, none of those that are guessed first."""

import re
import unicodedata
from typing import Final

PASSWORD_LENGTH_MIN: Final = 10
PASSWORD_LENGTH_MAX: Final = 256

# The words that lists of leaked passwords are full of; with digits or signs around them they are no better.
_COMMON_WORDS: Final = frozenset(
    word
    for line in (
        "admin administrator administration abc access adobe alexander andrew anthony apple arsenal asdf",
        "asdfgh asdfghjkl baseball basketball batman bailey benjamin blink butterfly charlie cheese",
        "chelsea chocolate christian christopher computer cookie corvette changeme changeit dallas",
        "default demo diamond donald dragon elephant family ferrari football freedom friends garfield",
        "gateway george ginger google guest hannah harley hello helloworld hockey hunter iloveyou",
        "internet jennifer jessica jordan joshua justin killer letmein letmeinnow liverpool login lovely",
        "loveme lovers manchester marina master matrix matthew mercedes michael michelle monkey mustang",
        "mynoob mypassword myspace nicole newpassword nothing openai oracle passcode passphrase passw",
        "password passwort pokemon princess private purple qazwsx qazwsxedc qwer qwerty qwertyu qwertyui",
        "qwertyuio qwertyuiop qwertz qwertzuiop rainbow ranger root samantha samsung scooter secret",
        "secretpassword secure security server shadow soccer spiderman starwars startup summer winter",
        "spring autumn sunshine superman superuser sysadmin system taylor temp temppassword test testing",
        "testtest thomas thunder tigger token tokenopen trustno trustnoone user username vincent voyager",
        "welcome whatever william yankees zaqwsx zxcvbn zxcvbnm zxcvbnmasdfghjkl",
        "correcthorsebatterystaple",
    )
    for word in line.split()
)
_LOOKS_LIKE: Final = str.maketrans("@431!0$57", "aaeiiosst")
# What people put around a word; of nothing but that a password must be longer.
_AROUND: Final = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_DIGITS_LENGTH_MIN: Final = 16
_ROWS: Final = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")


def normal_form(password: str) -> str:
    """Return a password as it is hashed: the same letters, however a keyboard composed them (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def why_unacceptable(password: str, *, email: str) -> str | None:
    """Return what is wrong with a new password, as a sentence; None where nothing is."""
    if len(password) < PASSWORD_LENGTH_MIN:
        return (
            f"A password has {PASSWORD_LENGTH_MIN} characters or more. A few words in a row are a good one."
        )
    if len(password) > PASSWORD_LENGTH_MAX:
        return f"A password has {PASSWORD_LENGTH_MAX} characters at most."
    lowered = password.casefold()
    mailbox = email.casefold().split("@")[0]
    if lowered in (email.casefold(), mailbox, mailbox * 2) or lowered.startswith(f"{mailbox}@"):
        return "A password must not be the e-mail address."
    if _is_common(lowered):
        return "This is one of the passwords that are guessed first. Choose another one."
    return None


def _is_common(lowered: str) -> bool:
    if any(_is_repeated(lowered, length) for length in range(1, 5)):
        return True
    if any(lowered in row or lowered in row[::-1] for row in _ROWS):
        return True
    once = lowered[: len(lowered) // 2] if _is_repeated(lowered, len(lowered) // 2) else lowered
    likened = once.rstrip("0123456789!?.*# ").translate(_LOOKS_LIKE)
    bare = {_AROUND.sub("", once), _AROUND.sub("", likened)}
    return bool(bare & _COMMON_WORDS) or ("" in bare and len(lowered) < _DIGITS_LENGTH_MIN)


def _is_repeated(text: str, length: int) -> bool:
    times, rest = divmod(len(text), length)
    return rest == 0 and times > 1 and text[:length] * times == text
