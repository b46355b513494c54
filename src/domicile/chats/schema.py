"""The tables of `chats.db`: conversations, their messages, files and presets.

A file of its own, beside the house's: it grows with what people say, and commands that have nothing to do with it must
not read it. Times are seconds since the epoch. Texts are indexed by FTS5 over the tables that hold them (external
content), folded by `search.folded` before they get there.
"""

from __future__ import annotations

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE folders (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        created_at REAL NOT NULL
    ) STRICT;
    CREATE TABLE presets (             -- a system prompt and parameters under a name
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        model TEXT,
        system TEXT,
        parameters TEXT NOT NULL,      -- JSON
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL
    ) STRICT;
    CREATE TABLE chats (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        title TEXT NOT NULL,
        titled INTEGER NOT NULL,       -- a person gave the title
        folder TEXT REFERENCES folders (id) ON DELETE SET NULL,
        pinned INTEGER NOT NULL,
        archived INTEGER NOT NULL,
        model TEXT,
        system TEXT,
        parameters TEXT NOT NULL,      -- JSON
        strategy TEXT,
        leaf TEXT,                     -- the message that the branch shown ends with
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL
    ) STRICT;
    CREATE INDEX chats_by_time ON chats (owner, archived, pinned, updated_at, number);
    CREATE INDEX chats_of_folder ON chats (folder);
    CREATE TABLE messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        chat INTEGER NOT NULL REFERENCES chats (number) ON DELETE CASCADE,
        parent TEXT,
        role TEXT NOT NULL,
        text TEXT NOT NULL,
        reasoning TEXT NOT NULL,
        calls TEXT NOT NULL,           -- JSON list: calls of tools, in OpenAI's shape
        state TEXT NOT NULL,           -- writing, done, stopped, cut, failed
        facts TEXT NOT NULL,           -- JSON: model, served_by, usage ... (words.Message)
        created_at REAL NOT NULL
    ) STRICT;
    CREATE INDEX messages_of_chat ON messages (chat, number);
    CREATE INDEX messages_written ON messages (state) WHERE state = 'writing';
    CREATE TABLE attachments (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        digest TEXT NOT NULL,          -- sha256 of the file, under which it is kept
        name TEXT NOT NULL,
        media_type TEXT NOT NULL,
        kind TEXT NOT NULL,            -- text, pdf, image, audio
        size_bytes INTEGER NOT NULL,
        text TEXT,                     -- what can be read of it
        facts TEXT NOT NULL,           -- JSON: pages, pages_read, cut
        created_at REAL NOT NULL
    ) STRICT;
    CREATE INDEX attachments_of_digest ON attachments (digest);
    CREATE TABLE attached (
        message INTEGER NOT NULL REFERENCES messages (number) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        attachment TEXT NOT NULL REFERENCES attachments (id),
        PRIMARY KEY (message, position)
    ) STRICT;
    CREATE INDEX attached_by_attachment ON attached (attachment);
    CREATE VIRTUAL TABLE title_words USING fts5 (
        title, content='chats', content_rowid='number', tokenize='unicode61 remove_diacritics 2', prefix='2 3'
    );
    CREATE VIRTUAL TABLE message_words USING fts5 (
        text, content='messages', content_rowid='number', tokenize='unicode61 remove_diacritics 2', prefix='2 3'
    );
    """,
)
