"""Files that only their owner may read: the vote seed, the keystore's password."""

from __future__ import annotations

import stat
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from verifier.service.errors import Stop


def read_secret(path: Path, what: str, remedy: str) -> str:
    """The text of a secret file without surrounding space. Errors: Stop when missing or open to others."""
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Stop(f"others may read the {what} file {path}: chmod 600 it")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"cannot read the {what} file {path}: {remedy}") from error


def unlock(keystore: Path, password_file: Path | None) -> LocalAccount:
    """The operator's account from an eth-account keystore. Errors: Stop."""
    if password_file is None:
        raise Stop("operator.keystore is set but operator.password_file is not")
    password = read_secret(password_file, "password", "write the keystore's password there, mode 600")
    try:
        account: LocalAccount = Account.from_key(Account.decrypt(keystore.read_text("utf-8"), password))
    except OSError as error:
        raise Stop(f"cannot read the keystore {keystore}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Stop(f"cannot open the keystore {keystore}: {error}") from error
    return account
