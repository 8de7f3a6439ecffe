"""Files that only their owner may read: the seed of the votes, the password of the keystore."""

from __future__ import annotations

import stat
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from verifier.service.errors import Stop


def read_secret(path: Path, what: str, remedy: str) -> str:
    """Return the text of a secret file without surrounding whitespace.

    Errors: Stop when the file is missing (with the `remedy`) or readable by others.
    """
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Stop(f"others may read the {what} file {path}: run chmod 600 {path}")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"cannot read the {what} file {path}: {remedy}") from error


def unlock(keystore: Path, password_file: Path | None) -> LocalAccount:
    """Return the operator's account from an eth-account keystore. Errors: Stop."""
    if password_file is None:
        raise Stop("operator.keystore is set, operator.password_file is not: name the file that holds its password")
    password = read_secret(password_file, "password", "write the password of the keystore there, with mode 600")
    try:
        account: LocalAccount = Account.from_key(Account.decrypt(keystore.read_text("utf-8"), password))
    except OSError as error:
        raise Stop(f"cannot read the keystore {keystore}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Stop(f"cannot open the keystore {keystore}: {error}") from error
    return account
