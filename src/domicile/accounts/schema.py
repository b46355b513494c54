"""The tables of accounts, in a file of their own that is for the owner of the house alone (`accounts.db`, 0600).

No password, no session and no key is in it as such: an argon2id hash of the first, the sha256 of the others (they are
256 random bits, so that no slow hash is needed).
"""

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE accounts (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE COLLATE NOCASE,
        role TEXT NOT NULL CHECK (role IN ('admin', 'user')),
        password TEXT NOT NULL,
        made_at REAL NOT NULL,
        seen_at REAL
    ) STRICT;
    CREATE TABLE sessions (
        digest BLOB PRIMARY KEY,
        account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
        made_at REAL NOT NULL,
        seen_at REAL NOT NULL,
        address TEXT NOT NULL,
        browser TEXT NOT NULL
    ) STRICT;
    CREATE INDEX sessions_of ON sessions (account);
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,           -- an account, or the owner of a house without accounts
        name TEXT NOT NULL,
        digest BLOB NOT NULL UNIQUE,
        ending TEXT NOT NULL,          -- its last four characters, to tell it from others
        made_at REAL NOT NULL,
        used_at REAL
    ) STRICT;
    CREATE INDEX keys_of ON keys (owner);
    """,
)
