"""Databases of PostgreSQL that tests have after one another: to empty one takes a hundredth of a new one."""

import psycopg
from psycopg import sql

MOST_BYTES = 32 * 1024 * 1024
_SYSTEM = ("pg_catalog", "information_schema", "pg_toast")
_OTHERS = """SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
_SEQUENCES = "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
_SHAPE = """
    SELECT format('%%s.%%s %%s %%s %%s', relnamespace::regnamespace, relname, attname, atttypid, attnotnull)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE relnamespace::regnamespace::text <> ALL (%(system)s)
    UNION ALL SELECT format('%%s() in %%s', proname, pronamespace::regnamespace) FROM pg_proc
        WHERE pronamespace::regnamespace::text <> ALL (%(system)s)
    UNION ALL SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT format('trigger %%s', tgname) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT nspname FROM pg_namespace
    UNION ALL SELECT setconfig::text FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
        WHERE datname = current_database()
    UNION ALL SELECT version_num FROM public.alembic_version
    UNION ALL SELECT 'too large' WHERE pg_database_size(current_database()) > %(most)s
    ORDER BY 1"""


def shape(url: str) -> list[str]:
    """Everything that a database has besides rows, as far as tests could change it."""
    with _opened(url) as database:
        return [one for (one,) in database.execute(_SHAPE, {"system": list(_SYSTEM), "most": MOST_BYTES})]


def emptied(url: str, expected: list[str]) -> bool:
    """Cut off who is still there, and take all rows out; False where it is not of the expected shape."""
    try:
        with _opened(url) as database:
            database.execute(_OTHERS)
            if shape(url) != expected:
                return False
            for (table,) in database.execute(_TABLES).fetchall():
                database.execute(sql.SQL("DELETE FROM public.{}").format(sql.Identifier(table)))
            database.execute(_SEQUENCES)
            return True
    except psycopg.Error:
        return False


def _opened(url: str) -> "psycopg.Connection[tuple[str]]":
    # Whatever a test set for its database; and what rows refer to goes away like themselves.
    options = "-c search_path=pg_catalog -c session_replication_role=replica -c statement_timeout=0"
    return psycopg.connect(url, autocommit=True, options=options)
