"""Passwords of logins: how they are kept, and how they are checked without anybody else having to wait."""

import asyncio
import contextlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import argon2

from router.domain.errors import Unavailable

LONGEST: Final = 256
"""Characters."""
_AT_ONCE = 2
"""A check takes 64 MiB and some hundredths of a second of several cores."""
_hasher = argon2.PasswordHasher()
"""Argon2id with the library's own costs (RFC 9106's second choice)."""


def hash_password(password: str) -> str:
    """What is kept of a password. It takes long: call it in a thread."""
    return _hasher.hash(_bytes(password))


def is_password(password_hash: str, password: str) -> bool:
    """It takes as long where there is no hash, so that nobody learns from the time whether there is such a login."""
    nobodys = _nobodys()
    with contextlib.suppress(argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return _hasher.verify(password_hash or nobodys, _bytes(password)) and bool(password_hash)
    return False


@cache
def _nobodys() -> str:
    return hash_password(secrets.token_hex())


def _bytes(password: str) -> bytes:
    """Of any str: an application may send half of a surrogate pair."""
    return password.encode(errors="surrogatepass")


class PasswordChecks:
    """Two at a time, in threads. Beyond `most_waiting` others a caller hears `Unavailable`: guessing must not take memory."""

    def __init__(self, most_waiting: int) -> None:
        self._most = most_waiting + _AT_ONCE
        self._open = 0
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="password")

    async def check(self, password_hash: str, password: str) -> bool:
        """Is it the password of that hash? An empty hash has none. Raises `Unavailable`."""
        if self._open >= self._most:
            raise Unavailable("too many passwords are being checked")
        self._open += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, is_password, password_hash, password[: LONGEST + 1])
        finally:
            self._open -= 1

    async def hash(self, password: str) -> str:
        """What is kept of it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, hash_password, password)
