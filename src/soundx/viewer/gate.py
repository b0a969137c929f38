"""The password of the pages that change something, and how it is asked for."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import threading
import time
from collections.abc import Callable

import streamlit as st

from soundx.errors import SoundxError

_SIGNED_IN = "train_signed_in"
_LONGEST_WAIT_S = 8.0
_MOST_ADDRESSES = 4096
_NO_ADDRESS = "no address"


class Gate:
    """Compares passwords, ever more slowly after wrong ones from the same address.

    Who guesses at one address closes the gate for that address: the owner comes from another.

    Args:
        clock_s: A clock that never goes back, in seconds.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        # by address: wrong attempts in a row, and when it opens again; the latest is last
        self._closed: dict[str, tuple[int, float]] = {}
        self._one_at_a_time = threading.Lock()

    def passes(self, attempt: str, password: str, address: str | None = None) -> bool:
        """Tell whether an attempt is the password, in a time that tells nothing about it.

        Args:
            attempt: What was typed.
            password: What it should be.
            address: Where it was typed, an IP address; None for this machine.

        Raises:
            SoundxError: The last wrong attempt at this address is too recent: this one was not
                looked at.
        """
        where = _network(address)
        with self._one_at_a_time:
            failures, opens_s = self._closed.get(where, (0, 0.0))
            wait_s = opens_s - self._clock_s()
            if wait_s > 0:
                raise SoundxError(
                    f"Too soon after a wrong password. Try again in {math.ceil(wait_s)} s."
                )
            self._closed.pop(where, None)
            if hmac.compare_digest(_digest(attempt), _digest(password)):
                return True
            while len(self._closed) >= _MOST_ADDRESSES:
                del self._closed[next(iter(self._closed))]
            delay_s = min(2.0 ** min(failures, 16), _LONGEST_WAIT_S)
            self._closed[where] = (failures + 1, self._clock_s() + delay_s)
            return False


def _address() -> str | None:
    """Return where this browser is; where a proxy is trusted, where that says it is."""
    return st.context.ip_address


def _network(address: str | None) -> str:
    """Return what stands for all addresses that one visitor has: of IPv6 it is 64 bits.

    Whatever is no address is one: nobody can name another at every guess.
    """
    if address is None:
        return ""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _NO_ADDRESS
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is None:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(getattr(ip, "ipv4_mapped", None) or ip)


_GATE = Gate()


def signed_in(password: str, why: str) -> bool:
    """Tell whether this session has given the password; ask for it where it has not.

    Args:
        password: What it should be.
        why: What it is for, for people.
    """
    if st.session_state.get(_SIGNED_IN):
        return True
    st.write(why)
    with st.form("sign in"):
        attempt = st.text_input("Password", type="password", autocomplete="current-password")
        sent = st.form_submit_button("Sign in", type="primary")
    if not sent:
        return False
    try:
        passes = _GATE.passes(attempt, password, _address())
    except SoundxError as error:
        st.error(str(error))
        return False
    if not passes:
        st.error("That is not the password.")
        return False
    st.session_state[_SIGNED_IN] = True
    st.rerun()


def sign_out() -> None:
    """Forget that this session has given the password."""
    del st.session_state[_SIGNED_IN]


def _digest(text: str) -> bytes:
    # of one length, whatever was typed
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
