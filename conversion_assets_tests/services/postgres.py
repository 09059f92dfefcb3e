"""PostgreSQL from the system's packages, with a cluster of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conversion_assets_tests.services.processes import HOST, folder, free_port, program, run, serving

USER = "conversion_assets"
NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True)
class Database:
    """One database and how to reach it.

    Attributes:
        port: on 127.0.0.1.
        name: of the database.
        password: of the user, who may do everything.
    """

    port: int
    name: str
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.port}/{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """What libpq and its like read."""
        return {
            "PGHOST": HOST,
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.name,
        }


@dataclass(frozen=True)
class Postgres:
    """A running server.

    Attributes:
        programs: folder of its programs.
        maintenance: its first database, from which others are made.
    """

    programs: Path
    maintenance: Database
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def new_database(self) -> Database:
        database = Database(self.maintenance.port, f"test_{next(self._numbers)}", self.maintenance.password)
        run([self.programs / "createdb", database.name], env=self.maintenance.environment)
        return database


@contextlib.contextmanager
def postgres(logs: Path, options: Sequence[str] = NOT_DURABLE) -> Iterator[Postgres]:
    """Run a PostgreSQL server that forgets everything at the end.

    Args:
        logs: folder of its log.
        options: its settings; by default it is fast and may lose what it wrote.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    programs = Path(program("initdb", *folders)).parent
    user = "postgres" if os.geteuid() == 0 else None  # initdb refuses root
    with folder(user) as home:
        server = Postgres(programs, Database(free_port(), "postgres", secrets.token_hex(16)))
        _make_cluster(server, home, user)
        settings = [f"-c{option}" for option in (*options, f"listen_addresses={HOST}")]
        port = str(server.maintenance.port)
        with serving(
            [str(programs / "postgres"), "-D", str(home / "data"), "-p", port, "-k", str(home), *settings],
            log=logs / "postgres.log",
            ready=lambda: _answers(server),
            user=user,
            stop=signal.SIGINT,  # ends the sessions too
        ):
            yield server


def _make_cluster(server: Postgres, home: Path, user: str | None) -> None:
    password = home / "password"
    password.write_text(server.maintenance.password)
    password.chmod(0o644)  # the folder is closed to others
    initdb = [str(server.programs / "initdb"), "--no-sync", "--encoding=UTF8", "--locale=C"]
    access = ["--username", USER, "--auth=scram-sha-256", "--pwfile", str(password)]
    run([*initdb, *access, str(home / "data")], user=user)


def _answers(server: Postgres) -> bool:
    command = [str(server.programs / "pg_isready"), "--quiet", "--dbname", server.maintenance.name]
    environment = {**os.environ, **server.maintenance.environment}
    return subprocess.run(command, env=environment, check=False).returncode == 0
